"""The model card of a trained model: what it is, what it learned from, how well it does."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from app.contracts import Job, Label


def model_card(job: Job, labels: Sequence[Label], result: Mapping[str, Any]) -> str:
    """Markdown, with the metadata that the hub reads."""
    params = {name: value for name, value in job.params.items() if value is not None and name != "ids"}
    return f"""---
library_name: transformers
pipeline_tag: text-classification
tags: [gradsift]
---

# {job.dataset}: {job.params["set"]}

A classifier of {len(labels)} labels ({", ".join(str(label) for label in labels)}),
fine-tuned by GradSift from `{job.model}` (revision `{result["model_revision"]}`).

| | |
|---|---|
| job | `{job.id}` |
| dataset | `{job.dataset}`, version {result["data_version"]} of its samples |
| trained on | {result["train_samples"]} samples: `{job.params["set"]}`{_of(result)} |
| steps | {result["steps"]} |{_pretrained(result)}

{_metrics(result)}
```python
from transformers import AutoModelForSequenceClassification, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained(folder)
model = AutoModelForSequenceClassification.from_pretrained(folder)
logits = model(**tokenizer(text, truncation=True, return_tensors="pt")).logits
```

Two texts go in as `tokenizer(text, text_pair, ...)`. Parameters of the training:

```json
{json.dumps(params, indent=1, sort_keys=True, ensure_ascii=False)}
```
"""


def _of(result: Mapping[str, Any]) -> str:
    if result["set_version"] is None:
        return ""
    return f" of set version {result['set_version']}, lineage `{result['lineage']}`"


def _pretrained(result: Mapping[str, Any]) -> str:
    told = result["domain_pretraining"]
    if told is None:
        return ""
    kind = f"{told['objective']} language modelling"
    return f"\n| before that | {told['steps']} steps of {kind} on {told['texts']} texts of the dataset |"


def _metrics(result: Mapping[str, Any]) -> str:
    splits = [name for name in ("validation", "test") if result[name] is not None]
    if not splits:
        return "There was no validation and no test split to evaluate it on.\n"
    names = list(result[splits[0]])
    lines = [f"| split | {' | '.join(names)} |", "|---|" + "---|" * len(names)]
    for split in splits:
        shown = " | ".join(_shown(result[split][name]) for name in names)
        lines.append(f"| {split} | {shown} |")
    return "\n".join(lines) + "\n"


def _shown(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:.4f}" if isinstance(value, float) else str(value)
