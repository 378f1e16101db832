"""Training a language model on texts without labels, before its encoder becomes a classifier's."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional
from transformers import DataCollatorForLanguageModeling

from models.batching import LabelledTexts, TokenizedTexts
from models.encoders.language import LoadedLanguageModel
from models.errors import ModelError
from models.memory import MicroBatch
from models.training.checks import require_known_tokens
from models.training.config import TrainingConfig
from models.training.fitting import FittingRun


class PretrainingRun(FittingRun):
    """Masked or causal language modelling, by what `language` is (Gururangan et al. 2020: domain-adaptive).

    Masked: of the tokens that are not special a share `mlm_probability` is to be filled in; of these 80 % are
    masked, 10 % replaced and 10 % left (Devlin et al. 2019), by DataCollatorForLanguageModeling, drawn anew
    at each visit from the seed and the step. Causal: every token but a text's first is to be said from those
    before it.

    A sample's loss is the sum over its tokens, scaled so that the mean over a micro-batch's samples is that
    over its tokens; a micro-batch without a token to say has the loss 0. Where memory calls for smaller
    micro-batches, the mask is drawn for each of them.
    """

    def __init__(
        self,
        language: LoadedLanguageModel,
        texts: TokenizedTexts,
        config: TrainingConfig,
        device: torch.device,
        *,
        mlm_probability: float = 0.15,
        micro_batch: MicroBatch | None = None,
    ) -> None:
        tokenizer = language.tokenizer
        self._masking: DataCollatorForLanguageModeling | None = None
        if language.masked:
            self._masking = DataCollatorForLanguageModeling(tokenizer, mlm_probability=mlm_probability)
        self._special = torch.tensor(sorted(set(tokenizer.all_special_ids)))
        self._vocabulary = len(tokenizer)
        unlabelled = LabelledTexts(texts, np.zeros(len(texts), dtype=np.int64))
        super().__init__(language, unlabelled, None, config, device, micro_batch=micro_batch)
        self._identity["language"] = f"masked {mlm_probability!r}" if language.masked else "causal"

    def _require_trainable(self) -> None:
        texts = self._train.tokens
        if len(texts) == 0:
            raise ModelError("empty_split", "There is no text to train on.", "Send samples of split train.")
        # Any token of the tokenizer may replace one that is to be filled in.
        drawn = self._vocabulary if self._masking is not None else 0
        require_known_tokens(self._model, max(drawn, int(texts.ids.max()) + 1))

    def _batch_losses(self, data: LabelledTexts, batch: NDArray[np.int64]) -> torch.Tensor:
        inputs = self._collator.collate(data.tokens, batch)
        lengths = torch.from_numpy(data.tokens.lengths_of(batch))
        targets = inputs["input_ids"].clone()
        wanted = torch.arange(targets.shape[1]) < lengths[:, None]
        if self._masking is not None:
            special = torch.isin(targets, self._special) | ~wanted
            inputs["input_ids"], masked = self._masking.torch_mask_tokens(inputs["input_ids"], special)
            wanted = masked != -100
        else:
            targets, wanted = targets[:, 1:], wanted[:, 1:]
        logits = self._read({name: value.to(self._device) for name, value in inputs.items()})
        return _by_sample(logits[:, : targets.shape[1]], targets.to(self._device), wanted.to(self._device))


def _by_sample(logits: torch.Tensor, targets: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """(batch,) summed cross-entropy of the wanted tokens · batch ÷ (how many are wanted in all of them)."""
    losses = torch.zeros(wanted.shape, device=logits.device)
    losses[wanted] = functional.cross_entropy(logits[wanted].float(), targets[wanted], reduction="none")
    return losses.sum(dim=1) * (len(wanted) / max(int(wanted.sum()), 1))
