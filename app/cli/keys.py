"""Commands for API keys. They work on the state itself: whoever can do that owns it already."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.outcome import note
from app.cli.parts import DataDir
from app.cli.recovery import opened_state

if TYPE_CHECKING:
    from app.contracts.api_keys import ApiKey

app = typer.Typer(help="API keys: make, list and revoke them.", no_args_is_help=True)


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="What the key is for; shown in lists and in the audit log.")],
    scope: Annotated[
        list[str], typer.Option(help="What it opens: read, write, jobs, admin; may be given several times.")
    ],
    dataset: Annotated[
        list[str], typer.Option(help="Pattern of the datasets that it reaches; may be given several times.")
    ] = ["*"],  # noqa: B006  (typer makes a new list of it)
    rate: Annotated[str | None, typer.Option(help="Requests a second, minute, hour or day.")] = None,
    concurrent: Annotated[int | None, typer.Option(min=1, help="Requests at a time.")] = None,
    queued_jobs: Annotated[int | None, typer.Option(min=1, help="Jobs that may wait.")] = None,
    expires_days: Annotated[
        float | None, typer.Option(min=0.0, help="After so many days it opens nothing more.")
    ] = None,
    data_dir: DataDir = None,
) -> None:
    """Make a key and print it: the service keeps its hash only, so this is the one time to see it.

    A running API takes it within a second.

    Example: gradsift keys create ranking --scope read --scope jobs --dataset 'reviews*' --rate 100/second
    """
    from app.services.api_keys import create_key
    from app.services.audit import audit_deed

    with opened_state(data_dir, new=True) as state:
        stored, key = create_key(
            state,
            name,
            scopes=scope,
            datasets=dataset,
            rate=rate,
            concurrent=concurrent,
            queued_jobs=queued_jobs,
            expires_days=expires_days,
        )
        audit_deed(state, "keys.create", subject=stored.id)
    note(f"key {stored.id}; it is not shown again:")
    print(key)


@app.command("list")
def list_keys(
    as_json: Annotated[bool, typer.Option("--json", help="One object a line.")] = False,
    data_dir: DataDir = None,
) -> None:
    """List the keys, revoked and expired ones too; none of them can be told from it.

    Example: gradsift keys list --data-dir ./gradsift-data
    """
    from app.services.api_keys import list_keys as run

    with opened_state(data_dir) as state:
        keys = run(state)
    for key in keys:
        print(json.dumps(_shown(key)) if as_json else _line(key))


@app.command()
def revoke(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="Of `gradsift keys list`.")],
    data_dir: DataDir = None,
) -> None:
    """Revoke a key. A running API refuses it within a second, requests that are under way included.

    Example: gradsift keys revoke 4kq0x7ab
    """
    from app.services.api_keys import revoke_key
    from app.services.audit import audit_deed

    with opened_state(data_dir) as state:
        revoked = revoke_key(state, key_id)
        audit_deed(state, "keys.revoke", subject=revoked.id)
    print(f"{revoked.id} ({revoked.name}) is revoked")


def _shown(key: ApiKey) -> dict[str, object]:
    from app.contracts import now

    shown = key.model_dump(mode="json", exclude={"salt", "hash"})
    return {"id": key.id, "name": key.name, "state": key.state(now())} | shown


def _line(key: ApiKey) -> str:
    from app.contracts import now

    limits = [f"{name} {value}" for name, value in key.limits.model_dump(exclude_none=True).items()]
    parts = [
        key.id,
        key.state(now()),
        key.name,
        ",".join(key.scopes),
        " ".join(key.datasets),
        "; ".join(limits) or "no limits",
        "never expires" if key.expires_at is None else f"expires {key.expires_at:%Y-%m-%d}",
    ]
    return "  ".join(parts)
