"""Answers to requests for predictions, by a process of its own."""
