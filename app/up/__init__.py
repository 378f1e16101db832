"""`gradsift up`: everything on one machine, supervised in the foreground."""

from app.up.api_part import address_of, listen
from app.up.attached import attached
from app.up.everything import Commands, require_wandb, require_worker_packages, run_up

__all__ = [
    "Commands",
    "address_of",
    "attached",
    "listen",
    "require_wandb",
    "require_worker_packages",
    "run_up",
]
