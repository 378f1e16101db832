"""The `train` job: a model of a chosen part of the samples, evaluated and stored."""
