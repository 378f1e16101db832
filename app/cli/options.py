"""Options that several commands share, and the client they describe."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from app.client import Client

Url = Annotated[str, typer.Option(envvar="GRADSIFT_URL", help="Address of the service.")]
ApiKey = Annotated[
    str | None,
    typer.Option(
        envvar="GRADSIFT_API_KEY", help="Key of the service, where it asks for one.", show_envvar=True
    ),
]
Model = Annotated[
    str | None, typer.Option(help="Model folder or name that the service allows; its default when left out.")
]
Params = Annotated[
    list[str] | None,
    typer.Option(
        "--param",
        metavar="NAME=VALUE",
        help="Parameter of the job; the value is JSON, anything else is text. May be repeated.",
    ),
]
DEFAULT_URL = "http://127.0.0.1:8000"


def connect(url: str, api_key: str | None) -> Client:
    from app.client import Client

    return Client(url, api_key)


def read_params(texts: list[str] | None) -> dict[str, Any]:
    """`["num_train_epochs=2", "policy=seed"]` → `{"num_train_epochs": 2, "policy": "seed"}`."""
    params: dict[str, Any] = {}
    for text in texts or []:
        name, equals, value = text.partition("=")
        if not equals or not name.strip():
            raise typer.BadParameter(f"{text!r} is not NAME=VALUE", param_hint="--param")
        try:
            params[name.strip()] = json.loads(value)
        except ValueError:
            params[name.strip()] = value
    return params
