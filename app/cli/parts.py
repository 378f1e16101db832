"""Commands that run the service, or a part of it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Host = Annotated[str, typer.Option(help="Address to listen on; any but loopback needs GRADSIFT_API_KEYS.")]
Port = Annotated[int, typer.Option(min=0, max=65535, help="0 picks a free port and says which.")]
DataDir = Annotated[
    Path | None,
    typer.Option(help="Where all state lives.", show_default="GRADSIFT_DATA_URL or gradsift-data"),
]


def up(host: Host = "127.0.0.1", port: Port = 8000, data_dir: DataDir = None) -> None:
    """Run everything on this machine: an embedded Redis, a worker, a predictor and the API.

    Ctrl-C stops all of it; starting it again on the same directory finds everything as it was.
    GRADSIFT_REDIS_URL, where it is set, takes the place of the embedded Redis.

    Example: gradsift up --port 8080 --data-dir ./gradsift-data
    """
    from app.cli.environment import load_settings
    from app.logs import configure_logging
    from app.up import run_up

    settings = load_settings()
    configure_logging(settings, part="up")
    run_up(settings, host=host, port=port, data_dir=data_dir)


def serve(
    host: Host = "127.0.0.1",
    port: Port = 8000,
    fd: Annotated[
        int | None, typer.Option(hidden=True, help="A listening socket that is open already.")
    ] = None,
) -> None:
    """Run the API alone, against GRADSIFT_REDIS_URL and GRADSIFT_DATA_URL.

    Example: GRADSIFT_REDIS_URL=redis://127.0.0.1:6379/0 gradsift serve --port 8000
    """
    from app.cli.server import run_api

    run_api(host, port, fd)


def worker() -> None:
    """Run one worker, against GRADSIFT_REDIS_URL and GRADSIFT_DATA_URL. SIGTERM hands its job back.

    Example: GRADSIFT_REDIS_URL=redis://127.0.0.1:6379/0 gradsift worker
    """
    from importlib import import_module

    from app.cli.environment import load_settings
    from app.logs import configure_logging
    from app.up import require_wandb, require_worker_packages
    from app.up.hub import keep_off_the_hub

    require_worker_packages()
    settings = load_settings()
    require_wandb(settings)
    configure_logging(settings, part="worker")
    keep_off_the_hub(settings)
    # By name: the service is installed without the workers' packages, and imports none of them.
    import_module("workers.celery_app").run_worker()


def predictor() -> None:
    """Run one predictor, which answers POST /v1/datasets/{dataset}/predict with the models of train jobs.

    It loads torch with the first request, and keeps the two models that were asked last.

    Example: GRADSIFT_REDIS_URL=redis://127.0.0.1:6379/0 gradsift predictor
    """
    from importlib import import_module

    from app.cli.environment import load_settings
    from app.logs import configure_logging
    from app.up import require_worker_packages
    from app.up.hub import keep_off_the_hub

    require_worker_packages()
    settings = load_settings()
    configure_logging(settings, part="predictor")
    keep_off_the_hub(settings)
    import_module("workers.predict.process").run_predictor()


def version() -> None:
    """Print the version.

    Example: gradsift version
    """
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as installed

    try:
        print(installed("gradsift"))
    except PackageNotFoundError:
        print("not installed (running from a checkout)")
