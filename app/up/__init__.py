"""`gradsift up`: everything on one machine, supervised in the foreground."""

from app.up.everything import Commands, run_up

__all__ = ["Commands", "run_up"]
