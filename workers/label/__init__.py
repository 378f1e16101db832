"""From behaviour logs to labelled samples, by time and without leaks."""
