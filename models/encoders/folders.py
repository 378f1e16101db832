"""What a model's folder may hold, looked at before anything of it is loaded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from models.errors import ModelError

GIGABYTE = 2**30
_INDEX = "*.safetensors.index.json"
_READ = ("*.json", "*.safetensors", "*.txt", "*.model", "*.jinja")
"""Names of what transformers reads of a folder."""
_LEADS_ELSEWHERE = ("adapter_config.json",)
_NO_REMEDY_BUT = "Save it again with save_pretrained, which writes model.safetensors."


def check_folder(folder: Path, max_bytes: int | None) -> None:
    """Refuses a folder whose loading would leave it, unpickle something or take too much.

    Weights are safetensors, by plain names beside the config; no file is a link that leads out (the cache of
    the hub, whose links lead to its own `blobs`, is let be); adapters of another model, which transformers
    would fetch from wherever they say, are refused, and so are kernels of the hub.

    Raises:
        ModelError: `model_not_safetensors`, `model_leads_elsewhere`, `model_needs_remote_code`,
            `model_too_large`.
    """
    files = sorted({path for pattern in _READ for path in folder.glob(pattern)})
    for path in files:
        _require_inside(folder, path)
    for name in _LEADS_ELSEWHERE:
        if (folder / name).exists():
            raise _elsewhere(
                folder, f"{name} names another model to load", "Merge the adapters into the weights."
            )
    weights = [path for path in files if path.suffix == ".safetensors"]
    if not weights and any(folder.glob("*.bin")):
        raise _not_safetensors(folder, "its weights are pickled, which can run code")
    for index in folder.glob(_INDEX):
        _check_index(folder, _object(index))
    _check_config(folder, _object(folder / "config.json"))
    size = sum(path.stat().st_size for path in files if path.is_file())
    if max_bytes is not None and size > max_bytes:
        raise ModelError(
            "model_too_large",
            f"The model {str(folder)!r} has {size / GIGABYTE:.1f} GiB of {max_bytes / GIGABYTE:.1f} allowed.",
            "Raise GRADSIFT_MAX_MODEL_BYTES on the workers, or choose a smaller model.",
        )


def _require_inside(folder: Path, path: Path) -> None:
    home = folder.resolve()
    roots = [home, home.parent.parent / "blobs"] if home.parent.name == "snapshots" else [home]
    real = path.resolve()
    if not any(real.is_relative_to(root) for root in roots):
        raise _elsewhere(
            folder, f"{path.name} is a link that leads out of it", "Copy the file into the folder."
        )


def _check_index(folder: Path, index: dict[str, Any]) -> None:
    named = index.get("weight_map")
    names = set(named.values()) if isinstance(named, dict) else set()
    for name in sorted(map(str, names)):
        if not _plain(name):
            raise _elsewhere(folder, f"its index names the file {name!r}", _NO_REMEDY_BUT)
        if not name.endswith(".safetensors"):
            raise _not_safetensors(folder, f"its index names the file {name!r}")


def _check_config(folder: Path, config: dict[str, Any]) -> None:
    explicit = config.get("transformers_weights")
    if explicit is not None and not _plain(str(explicit)):
        raise _elsewhere(folder, f"its config names the file {str(explicit)!r}", _NO_REMEDY_BUT)
    for name, value in config.items():
        if name.endswith("_implementation") and "/" in json.dumps(value):
            raise ModelError(
                "model_needs_remote_code",
                f"The model {str(folder)!r} asks for kernels of the hub ({name}), which are code.",
                f"Take {name} out of its config.json.",
            )


def _object(path: Path) -> dict[str, Any]:
    """What a JSON file holds; nothing where it holds no object, which loading it will tell."""
    try:
        held = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return held if isinstance(held, dict) else {}


def _plain(name: str) -> bool:
    return name not in ("", ".", "..") and "/" not in name and "\\" not in name


def _elsewhere(folder: Path, why: str, remedy: str) -> ModelError:
    return ModelError("model_leads_elsewhere", f"The model {str(folder)!r} is refused: {why}.", remedy)


def _not_safetensors(folder: Path, why: str) -> ModelError:
    return ModelError(
        "model_not_safetensors", f"The model {str(folder)!r} is refused: {why}.", _NO_REMEDY_BUT
    )
