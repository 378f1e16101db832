"""Samples that a job makes, stored batch by batch, and counted right whatever befalls its attempts."""
