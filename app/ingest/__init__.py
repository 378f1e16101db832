"""From what clients send to rows that are stored: formats, checks, the write path. Knows stores, no HTTP."""
