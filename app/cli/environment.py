"""The settings, or what is wrong with them."""

from __future__ import annotations

from pydantic import ValidationError

from app.errors import GradSiftError
from app.settings import Settings, get_settings

_REMEDY = "Correct the environment variable; docs/settings.md lists them all."


def load_settings() -> Settings:
    """The settings of this process.

    Raises:
        GradSiftError: `invalid_settings`, naming the variable; never its value, which may be a key.
    """
    try:
        settings = get_settings()
        settings.keys()
    except ValidationError as error:
        wrong = [(f"GRADSIFT_{item['loc'][0]}".upper(), item["msg"]) for item in error.errors()]
        detail = "; ".join(f"{name}: {reason}" for name, reason in wrong)
        raise GradSiftError("invalid_settings", detail, remedy=_REMEDY) from None
    except OSError as error:
        detail = f"GRADSIFT_API_KEYS_FILE: cannot read {error.filename}: {error.strerror}"
        raise GradSiftError("invalid_settings", detail, remedy=_REMEDY) from error
    return settings
