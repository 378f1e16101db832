"""What `make demo` runs: the service driven from outside, over HTTP, on real reviews."""
