"""The audit log outlives Redis, and comes back from a backup."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from app.contracts.audit import entry_of
from app.services.audit import audit_deed
from app.services.backup import backup
from app.services.restore import restore
from app.services.verify import verify
from app.settings import Settings
from app.store.state import State, open_state
from tests.playing import Player


def quiet(*_: object) -> None:
    pass


def actions(state: State) -> list[str]:
    return [entry_of(line).action for line in state.audit.files.read(0, 2**62)]


def test_it_comes_back_from_a_backup_and_goes_on(
    player: Player, make_settings: Callable[..., Settings], tmp_path: Path
) -> None:
    state = player.state
    player.dataset([{"id": "1", "text": "a", "label": 1}])
    audit_deed(state, "keys.create", keys=1)
    backup(state, str(tmp_path / "backup"), quiet)
    other = open_state(make_settings(data_url=str(tmp_path / "other"), key_prefix="other"))
    restore(other, str(tmp_path / "backup"), quiet)
    audit_deed(other, "state.restore")
    assert actions(other) == ["keys.create", "state.restore"]
    assert list(verify(other, [], quiet)) == []
    other.close()


def test_one_that_is_there_is_not_replaced(
    player: Player, make_settings: Callable[..., Settings], tmp_path: Path
) -> None:
    player.dataset([{"id": "1", "text": "a", "label": 1}])
    audit_deed(player.state, "keys.create")
    backup(player.state, str(tmp_path / "backup"), quiet)
    other = open_state(make_settings(data_url=str(tmp_path / "other"), key_prefix="kept"))
    audit_deed(other, "keys.revoke")
    restore(other, str(tmp_path / "backup"), quiet)
    assert actions(other) == ["keys.revoke"]
    assert list(verify(other, [], quiet)) == []
    other.close()
