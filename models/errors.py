"""The one exception of the mathematics: what went wrong, where, and what to do about it."""

from __future__ import annotations

from collections.abc import Sequence


class ModelError(Exception):
    """A failure that the caller can name and the user can act on.

    `code` is stable and documented: clients may test for it. `detail` says what is wrong, `remedy`
    what to do. `positions` are the rows at fault, as indices into the arrays that were passed in;
    this package knows no sample ids, so its caller turns them into ids.

    | code | raised when |
    |---|---|
    | `model_not_found` | the folder or hub name does not exist, or is not cached and may not be fetched |
    | `model_load_failed` | config or weights are broken, of another architecture, or incomplete |
    | `model_not_safetensors` | the weights are not stored as safetensors |
    | `model_needs_remote_code` | the model can only be loaded by running code that it ships |
    | `invalid_model_config` | a config override is unknown, forbidden or of a wrong type or value |
    | `no_tokenizer` | there is no usable tokenizer beside the model |
    | `tokenizer_mismatch` | token ids exceed the model's embedding table |
    | `too_few_classes` | fewer than two classes |
    | `label_out_of_range` | a label index is not one of the model's classes |
    | `empty_split` | there is nothing to train on |
    | `no_validation` | early stopping was asked for without a validation split |
    | `no_hidden_states` | the model does not show where it puts a text |
    | `invalid_training_config` | a training parameter is out of range |
    | `precision_unavailable` | bf16 or fp16 was asked for where the device cannot do it |
    | `non_finite_score` | a loss or a gradient norm is infinite or not a number |
    | `out_of_memory` | the device's memory does not suffice, even for one sample at a time |
    | `checkpoint_mismatch` | a checkpoint belongs to another run |
    | `invalid_fractions` | selection or split fractions are out of range |
    """

    def __init__(self, code: str, detail: str, remedy: str, *, positions: Sequence[int] = ()) -> None:
        super().__init__(f"{detail} {remedy}")
        self.code = code
        self.detail = detail
        self.remedy = remedy
        self.positions = tuple(int(position) for position in positions)

    def __reduce__(self) -> tuple[object, ...]:
        """Survives pickling, which the default of `Exception` with four arguments does not."""
        return _rebuild, (self.code, self.detail, self.remedy, self.positions)


def _rebuild(code: str, detail: str, remedy: str, positions: tuple[int, ...]) -> ModelError:
    return ModelError(code, detail, remedy, positions=positions)
