"""The mathematics: training, per-sample signals and selection. Knows no web, no queue and no Redis."""
