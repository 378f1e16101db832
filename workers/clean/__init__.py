"""The `clean` job: what is wrong with the samples as they are."""
