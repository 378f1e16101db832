"""The `grow` job: the core grows round by round, checked on validation beside a random control."""
