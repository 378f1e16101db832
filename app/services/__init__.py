"""Use cases: ingest, look up, page, create and cancel jobs. Knows stores, not HTTP."""
