"""The libraries that load models, kept off the hub."""

from __future__ import annotations

import os

from app.settings import Settings


def keep_off_the_hub(settings: Settings) -> None:
    """Unless the settings allow it, whatever asks the hub for a file is told that there is no network.

    To be called before they are imported: they read it once. The loading of models says so itself; this is
    for what they would fetch besides.
    """
    if not settings.allow_hub:
        os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
