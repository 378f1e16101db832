"""What a team may set for a dataset, beside its task and labels."""

from __future__ import annotations

from pydantic import Field

from app.contracts.base import Count, Flag, Strict


class DatasetSettings(Strict):
    """Every field has a default; `PUT /v1/datasets/{dataset}` changes the ones that it names."""

    mask_events: Flag = Field(
        default=True, description="Mask personal data in the texts of events and of the catalogue."
    )
    event_retention_days: Count | None = Field(
        default=None, ge=1, le=36_500, description="Events older than that are deleted; null: they are kept."
    )

    def changed(self, fields: DatasetSettings) -> DatasetSettings:
        """With what the client named, and as it was otherwise."""
        return self.model_copy(update={name: getattr(fields, name) for name in fields.model_fields_set})
