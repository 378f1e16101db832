"""Use cases: describe, look up, page, create and cancel jobs. Knows stores, not HTTP."""
