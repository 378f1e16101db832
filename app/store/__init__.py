"""State: samples in Lance; ids, scores, sets and jobs in Redis. The only place that imports redis."""
