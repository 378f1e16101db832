"""What a trained classifier is once it is saved: as it was, without adapters, and self-contained."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer

from models.encoders import load_classifier
from models.encoders.adapters import LoraSettings, adapter_values, add_lora
from models.encoders.saving import save_classifier
from models.evaluation import predict_logits
from tests.models.conftest import LoadTiny, MakeData


@pytest.mark.parametrize("adapted", [False, True], ids=["whole", "lora"])
def test_a_saved_classifier_says_the_same(
    load_tiny: LoadTiny,
    make_data: MakeData,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    adapted: bool,
) -> None:
    classifier = load_tiny()
    tokens = make_data(classifier, 9).tokens
    if adapted:
        before = predict_logits(classifier.model, tokens)
        add_lora(classifier.model, LoraSettings(r=2), seed=0)
        with torch.no_grad():
            for name, parameter in classifier.model.named_parameters():
                if "lora_B" in name:
                    parameter.normal_(generator=torch.Generator().manual_seed(1))
        assert abs(predict_logits(classifier.model, tokens) - before).max() > 1e-3, "the case shows nothing"
    wanted = predict_logits(classifier.model, tokens)
    labels = [f"label {i}" for i in range(wanted.shape[1])]
    save_classifier(classifier, tmp_path, labels=labels, max_length=12)
    assert "".join(capfd.readouterr()) == ""
    assert adapter_values(classifier.model) == 0
    read = load_classifier(str(tmp_path), num_labels=len(labels), seed=9)
    torch.testing.assert_close(
        torch.from_numpy(predict_logits(read.model, tokens)), torch.from_numpy(wanted), rtol=1e-5, atol=1e-5
    )
    assert read.model.config.id2label == dict(enumerate(labels))
    assert read.model.config.label2id["label 1"] == 1
    assert AutoTokenizer.from_pretrained(tmp_path).model_max_length == 12
    assert classifier.tokenizer.model_max_length != 12
    assert not list(tmp_path.glob("*.bin"))
