"""API keys: what Redis says of each is what the archive says."""

from __future__ import annotations

from pydantic import ValidationError

from app.errors import Damaged
from app.services.verify.findings import Finding, Findings
from app.store.state import State

CHECK = "api_keys"


def check_keys(state: State) -> Findings:
    found = _differences(state)
    return _differences(state) if found else []  # one may have been made or revoked between the two looks


def _differences(state: State) -> Findings:
    key = state.keys.api_keys
    try:
        archived = state.key_archive.held()
        held = state.api_keys.held()
    except Damaged as error:
        return [Finding("archive", error.detail)]
    except ValidationError:
        return [Finding(CHECK, "the record of an API key is damaged", key=key)]
    found = [
        Finding(CHECK, f"key {key_id} has no file: it cannot be rebuilt", key=key)
        for key_id in held.keys() - archived.keys()
    ]
    for key_id, right in archived.items():
        if key_id not in held:
            found.append(Finding(CHECK, f"key {key_id} is in the archive only", key=key))
        elif held[key_id] != right:
            found.append(Finding(CHECK, f"key {key_id} is not what its file says", key=key))
    return found
