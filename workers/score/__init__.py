"""The `score` job: fine-tune, record, sort into sets."""
