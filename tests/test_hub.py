"""Workers stay off the hub unless the settings allow it."""

from __future__ import annotations

import subprocess
import sys

import pytest

from app.settings import Settings
from app.up.hub import keep_off_the_hub


@pytest.mark.parametrize("allowed", [False, True])
def test_the_libraries_are_told_before_they_are_imported(
    monkeypatch: pytest.MonkeyPatch, allowed: bool
) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setenv("HF_HUB_DISABLE_TELEMETRY", "0")
    keep_off_the_hub(Settings(allow_hub=allowed))
    code = "from huggingface_hub import constants as c; print(c.HF_HUB_OFFLINE, c.HF_HUB_DISABLE_TELEMETRY)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    assert ran.stdout.split() == [str(not allowed), "True"]
