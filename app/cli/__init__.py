"""The command line: thin commands over the service and its client.

Every command imports what it needs inside itself: `gradsift --help` must not wait for FastAPI, pyarrow or
httpx, and `gradsift serve` must not find torch.
"""

from __future__ import annotations

import sys

import typer

from app.cli import (
    audit,
    cleaning,
    events,
    explain,
    files,
    imports,
    jobs,
    keys,
    parts,
    predictions,
    recovery,
    reviews,
    samples,
    sets,
    splits,
    usage,
)
from app.cli.outcome import FAILED, show_error
from app.errors import GradSiftError

EPILOG = (
    "Everything on one machine: gradsift up. What a command does, with an example: gradsift COMMAND --help."
)

app = typer.Typer(
    name="gradsift",
    help="Finds which labelled samples matter when a search or recommendation model is fine-tuned.",
    epilog=EPILOG,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (
    parts.up,
    parts.serve,
    parts.worker,
    parts.predictor,
    samples.submit,
    splits.split,
    cleaning.clean,
    cleaning.cleaning,
    events.events,
    events.items,
    events.label,
    jobs.score,
    jobs.grow,
    jobs.train,
    jobs.compare,
    jobs.watch,
    jobs.cancel,
    jobs.jobs,
    files.download,
    predictions.predict,
    sets.sets,
    sets.export,
    explain.explain,
    reviews.review,
    reviews.review_queue,
    usage.usage,
    recovery.backup,
    recovery.restore,
    recovery.verify,
    recovery.rebuild,
    parts.version,
):
    app.command()(command)
app.command("import")(imports.import_files)
app.add_typer(keys.app, name="keys")
app.add_typer(audit.app, name="audit")


def main() -> None:
    """The console script: domain errors become a message and exit code 1."""
    try:
        app(prog_name="gradsift")
    except GradSiftError as error:
        show_error(error)
        sys.exit(FAILED)
