"""Celery workers: thin tasks, leases, and the pipelines that join models to stores."""
