"""Which model this is, by its content."""

from __future__ import annotations

import hashlib
from pathlib import Path

_IDENTITY = ("config.json", "*.safetensors", "*.safetensors.index.json")
_TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")
_VOCABULARY = ("vocab.*", "merges.txt", "*.model")
_CHUNK_BYTES = 1 << 20


def folder_revision(folder: Path) -> str:
    """16 hex digits of the SHA-256 over config, weights and tokenizer files of a model folder.

    The tokenizer counts because it decides what the model reads, and so every score. Files are read in
    order of their names, which are hashed with them; weights are streamed.
    """
    patterns = _IDENTITY + _TOKENIZER + _VOCABULARY
    files = sorted({path for pattern in patterns for path in folder.glob(pattern) if path.is_file()})
    digest = hashlib.sha256()
    for path in files:
        digest.update(f"{path.name}\0{path.stat().st_size}\0".encode())
        with path.open("rb") as content:
            while chunk := content.read(_CHUNK_BYTES):
                digest.update(chunk)
    return digest.hexdigest()[:16]
