"""What a team may set for a dataset, beside its task and labels."""

from __future__ import annotations

from app.contracts.base import Strict


class DatasetSettings(Strict):
    """Every field has a default; `PUT /v1/datasets/{dataset}` changes the ones that it names."""

    def changed(self, fields: DatasetSettings) -> DatasetSettings:
        """With what the client named, and as it was otherwise."""
        return self.model_copy(update={name: getattr(fields, name) for name in fields.model_fields_set})
