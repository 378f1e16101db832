"""Commands about jobs: start, follow, cancel, list."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.estimates import duration, print_estimate
from app.cli.options import DEFAULT_URL, ApiKey, Model, Params, Url, connect, read_params
from app.cli.outcome import INTERRUPTED, JOB_EXIT_CODES, note

if TYPE_CHECKING:
    from collections.abc import Callable

    from app.client import Client, Json

REJECTIONS_SHOWN = 5
JobId = Annotated[str, typer.Argument(metavar="JOB", help="Id of the job.")]
Watch = Annotated[bool, typer.Option("--watch", help="Follow the job to its end.")]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Start nothing: check the request, and say how long it would take.")
]


def score(
    dataset: Annotated[str, typer.Argument(help="Dataset whose train samples are scored.")],
    model: Model = None,
    param: Params = None,
    watch: Watch = False,
    dry_run: DryRun = False,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = None,
) -> None:
    """Start a score job: fine-tune, measure every sample, sort into core, edge and noise.

    Example: gradsift score reviews --param num_train_epochs=2 --param core_fraction=0.3 --watch
    """
    run("score", dataset, model, read_params(param), connect(url, api_key), follow=watch, dry_run=dry_run)


def grow(
    dataset: Annotated[str, typer.Argument(help="Dataset whose core is grown.")],
    model: Model = None,
    param: Params = None,
    watch: Watch = False,
    dry_run: DryRun = False,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = None,
) -> None:
    """Start a grow job: train on a small core, and take in more samples round by round while that helps.

    Example: gradsift grow reviews --param initial_fraction=0.1 --param max_rounds=4 --watch
    """
    run("grow", dataset, model, read_params(param), connect(url, api_key), follow=watch, dry_run=dry_run)


def train(
    dataset: Annotated[str, typer.Argument(help="Dataset whose samples a model is trained on.")],
    set: Annotated[
        str,
        typer.Option(help="core, edge, noise, several (core+edge), full, or random: before any of these."),
    ] = "core",
    model: Model = None,
    param: Params = None,
    watch: Watch = False,
    dry_run: DryRun = False,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = None,
) -> None:
    """Start a train job: train a model on a set, evaluate it, and keep it. Fetch it: gradsift download JOB.

    Example: gradsift train reviews --set core+edge --param num_train_epochs=4 --watch
    """
    run(
        "train",
        dataset,
        model,
        {"set": set} | read_params(param),
        connect(url, api_key),
        follow=watch,
        dry_run=dry_run,
    )


def compare(
    dataset: Annotated[str, typer.Argument(help="Dataset whose sets are compared on its test split.")],
    subsets: Annotated[
        list[str] | None,
        typer.Option(
            "--subset", help="As --set of train, with a version: core@2. May be repeated. Default: core."
        ),
    ] = None,
    model: Model = None,
    param: Params = None,
    watch: Watch = False,
    dry_run: DryRun = False,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = None,
) -> None:
    """Start a compare job: models of sets, of as many random samples and of all, over several seeds.

    Example: gradsift compare reviews --subset core --subset core+edge --param seeds=5 --watch
    """
    params = {"subsets": subsets} if subsets else {}
    run(
        "compare",
        dataset,
        model,
        params | read_params(param),
        connect(url, api_key),
        follow=watch,
        dry_run=dry_run,
    )


def watch(job: JobId, url: Url = DEFAULT_URL, api_key: ApiKey = None) -> None:
    """Follow a job to its end; Ctrl-C leaves it running.

    Exit code 0: succeeded, 1: failed, 2: cancelled, 130: Ctrl-C.

    Example: gradsift watch 01JCQ4ZK8E
    """
    with connect(url, api_key) as client:
        raise typer.Exit(watch_job(client, job))


def cancel(job: JobId, url: Url = DEFAULT_URL, api_key: ApiKey = None) -> None:
    """Cancel a job; it stops within one training step.

    Example: gradsift cancel 01JCQ4ZK8E
    """
    with connect(url, api_key) as client:
        state = client.cancel(job)["state"]
    print(f"{job} is cancelled" if state == "cancelled" else f"{job} is {state} and will be cancelled")


def jobs(
    dataset: Annotated[str | None, typer.Option(help="Only jobs of this dataset.")] = None,
    state: Annotated[
        str | None, typer.Option(help="queued, running, succeeded, failed or cancelled.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 20,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = None,
) -> None:
    """List jobs, newest first.

    Example: gradsift jobs --dataset reviews --state running
    """
    from app.cli.tables import print_table

    with connect(url, api_key) as client:
        found = client.jobs(dataset=dataset, state=state, limit=limit)
    rows = [
        [job["id"], job["kind"], job["dataset"], job["state"], _percent(job), job["created_at"]]
        for job in found
    ]
    print_table(["job", "kind", "dataset", "state", "done", "created"], rows, empty="no jobs")


def run(
    kind: str,
    dataset: str,
    model: str | None,
    params: dict[str, Any],
    client: Client,
    *,
    follow: bool,
    dry_run: bool = False,
) -> None:
    with client:
        if dry_run:
            print_estimate(client.dry_run(_request(kind, dataset, model, params))["estimate"])
            return
        job_id = start_job(client, kind, dataset, model, params)
        if follow:
            raise typer.Exit(watch_job(client, job_id))


def start_job(client: Client, kind: str, dataset: str, model: str | None, params: dict[str, Any]) -> str:
    """Starts the job and prints its id."""
    job_id = str(client.create_job(_request(kind, dataset, model, params))["id"])
    print(job_id, flush=True)
    return job_id


def _request(kind: str, dataset: str, model: str | None, params: dict[str, Any]) -> dict[str, Any]:
    named = {} if model is None else {"model": model}
    return {"dataset": dataset, "kind": kind, "params": params} | named


def watch_job(client: Client, job_id: str) -> int:
    """Shows the job's progress until it ends; the exit code of its outcome."""
    job: Json = {}
    try:
        with _progress() as show:
            for job in client.follow(job_id):
                show(job)
    except KeyboardInterrupt:
        note(f"\nThe job goes on. Follow it: gradsift watch {job_id}. Stop it: gradsift cancel {job_id}.")
        return INTERRUPTED
    _print_end(job)
    return JOB_EXIT_CODES[job["state"]]


def _print_end(job: Json) -> None:
    print(f"{job['id']} {job['state']}")
    error = job.get("error")
    if error:
        note(f"error: {error['detail']} [{error['code']}]\nremedy: {error['remedy']}")
    _print_imported(job.get("result") or {})
    sizes = (job.get("result") or {}).get("sets")
    if isinstance(sizes, dict):
        print(", ".join(f"{count} {name}" for name, count in sizes.items()))
    for sentence in (job.get("result") or {}).get("verdict", []):
        print(sentence)
    splits = (job.get("result") or {}).get("splits")
    if isinstance(splits, dict):
        print(", ".join(f"{count} {name}" for name, count in splits.items()))
    for split in ("validation", "test"):
        metrics = (job.get("result") or {}).get(split)
        if isinstance(metrics, dict):
            print(f"{split}: accuracy {metrics['accuracy']:.4f}, macro-F1 {metrics['macro_f1']:.4f}")


def _print_imported(result: Json) -> None:
    if "received" not in result:
        return
    counts = ("received", "created", "updated", "unchanged")
    told = ", ".join(f"{result[name]} {name}" for name in counts)
    print(f"{told}, {result['rejected_total']} rejected")
    for one in result["rejected"][:REJECTIONS_SHOWN]:
        note(f"{one['file']}, row {one['row']} rejected: {one['detail']}")


def _percent(job: Json) -> str:
    return f"{100 * job['progress']['fraction']:.0f}%"


@contextmanager
def _progress() -> Iterator[Callable[[Json], None]]:
    """Gives the function that shows a job: a bar in a terminal, else a line at each phase and every tenth."""
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_terminal:
        yield _Lines().show
        return
    from rich.progress import BarColumn, Progress, TextColumn

    columns = (
        TextColumn("{task.fields[phase]}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
        TextColumn("{task.fields[speed]}"),
    )
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task("", total=1.0, phase="", speed="")

        def show(job: Json) -> None:
            done = job["progress"]["fraction"]
            progress.update(bar, completed=done, phase=_phase(job), speed=_speed(job))

        yield show


class _Lines:
    """Progress for a log file: a line now and then."""

    def __init__(self) -> None:
        self._last: tuple[str, int] | None = None

    def show(self, job: Json) -> None:
        now = (_phase(job), int(job["progress"]["fraction"] * 10))
        if now != self._last:
            note(" ".join(filter(None, [now[0], _percent(job), _speed(job)])))
        self._last = now


def _phase(job: Json) -> str:
    if job["state"] != "running":
        return str(job["state"])
    again = f" (attempt {job['attempt']})" if job["attempt"] > 1 else ""
    return f"{job['progress']['phase']}{again}"


def _speed(job: Json) -> str:
    if job["state"] != "running":
        return ""  # what is left there is of an attempt that has ended
    progress, words = job["progress"], []
    if progress.get("samples_per_second"):
        words.append(f"{progress['samples_per_second']:.0f} samples/s")
    if progress.get("eta_seconds") is not None:
        words.append(f"{duration(progress['eta_seconds'])} left")
    return ", ".join(words)
