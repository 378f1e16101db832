"""The `compare` job: models of several subsets and seeds, each evaluated on the test split."""
