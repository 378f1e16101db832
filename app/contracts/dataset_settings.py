"""What a team may set for a dataset, beside its task and labels."""

from __future__ import annotations

from pydantic import Field

from app.contracts.base import Count, Flag, Strict
from app.contracts.flags import SampleFlag


class DatasetSettings(Strict):
    """Every field has a default; `PUT /v1/datasets/{dataset}` changes the ones that it names."""

    mask_samples: Flag = Field(
        default=False,
        description="E-mail addresses, telephone, identity, card and account numbers in `text`, `text_pair` "
        "and string values of `meta` are replaced before a sample is stored; they are kept nowhere.",
    )
    exclude_flags: tuple[SampleFlag, ...] = Field(
        default=(),
        description="Train samples with any of these flags of the last clean job are left out of jobs that "
        "train. Empty: none are.",
    )
    mask_events: Flag = Field(
        default=True, description="Mask personal data in the texts of events and of the catalogue."
    )
    event_retention_days: Count | None = Field(
        default=None, ge=1, le=36_500, description="Events older than that are deleted; null: they are kept."
    )

    def changed(self, fields: DatasetSettings) -> DatasetSettings:
        """With what the client named, and as it was otherwise."""
        return self.model_copy(update={name: getattr(fields, name) for name in fields.model_fields_set})
