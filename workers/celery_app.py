"""The Celery worker process and its one task."""

from __future__ import annotations

import os
import re
from importlib import import_module
from typing import Any

from billiard.exceptions import WorkerLostError
from celery.signals import (
    setup_logging,
    task_failure,
    worker_before_create_process,
    worker_process_init,
    worker_ready,
    worker_shutdown,
    worker_shutting_down,
)

from app.logs import configure_logging
from app.queue import RUN_NEXT, make_celery
from app.settings import get_settings
from app.store.guard import die_with_parent
from app.store.lines import Line
from app.store.state import open_state
from app.tracing import start_tracing
from workers.figures import FiguresThread
from workers.forking import NICENESS, WHAT_JOBS_NEED, children_are_forked, load_beforehand
from workers.pool import CHILD_IS_UP
from workers.presence import WorkerPresence, name_this_worker
from workers.threads import spin_little

celery = make_celery(get_settings())
celery.conf.include = ["workers.celery_app"]
celery.conf.worker_pool = "workers.pool:JobPool"
celery.conf.worker_pool_start_method = "fork" if children_are_forked() else "spawn"
_present: list[WorkerPresence] = []


@celery.task(name=RUN_NEXT, ignore_result=True)  # type: ignore[untyped-decorator]
def run_next() -> None:
    """Runs waiting jobs until none is left. The message is only a hint: the queue in Redis says which."""
    from workers.runner import run_waiting_jobs  # brings torch, which makes a fresh interpreter wait

    run_waiting_jobs(get_settings(), name_this_worker())


def run_worker() -> None:
    """Runs a worker in the foreground until SIGTERM or Ctrl-C; one child process does the jobs.

    It is not there for anyone, and nothing is given to the child, before what a job needs is loaded.
    """
    name_this_worker()
    spin_little()
    if children_are_forked():
        load_beforehand()
    options = [
        "--concurrency=1",
        "--without-gossip",
        "--without-mingle",
        *(() if get_settings().celery_events else ("--without-heartbeat",)),
    ]
    celery.worker_main(["--quiet", "worker", f"--loglevel={get_settings().log_level}", *options])


@setup_logging.connect  # type: ignore[untyped-decorator]
def _log_our_way(**_: Any) -> None:
    configure_logging(get_settings(), part="worker")


@worker_before_create_process.connect  # type: ignore[untyped-decorator]
def _child_says_nothing_yet(**_: Any) -> None:
    os.environ.pop("_MP_FORK_LOGLEVEL_", None)  # it would write lines of its own form until it logs our way


@worker_process_init.connect  # type: ignore[untyped-decorator]
def _child_starts(**_: Any) -> None:
    die_with_parent()
    os.nice(NICENESS)
    configure_logging(get_settings(), part="worker")
    start_tracing(get_settings(), "worker")
    import_module(WHAT_JOBS_NEED)  # where it was not forked; no job reaches it before
    FiguresThread(open_state(get_settings()).worker_figures, name_this_worker(), "jobs").start()


@worker_ready.connect  # type: ignore[untyped-decorator]
def _ready(**_: Any) -> None:
    state = open_state(get_settings())
    name = name_this_worker()
    presence = WorkerPresence(state.jobs, Line(state.client, state.keys.jobs, name), name, CHILD_IS_UP)
    presence.start()
    FiguresThread(state.worker_figures, name, "main").start()
    _present.append(presence)


@task_failure.connect  # type: ignore[untyped-decorator]
def _child_died(exception: BaseException | None = None, **_: Any) -> None:
    """In the parent: a child that the kernel killed, or that broke off, cannot say so itself."""
    if not isinstance(exception, WorkerLostError):
        return
    for presence in _present:
        presence.note_death(re.sub(r" Job: \d+\.$", "", str(exception)))


@worker_shutting_down.connect  # type: ignore[untyped-decorator]
def _shutting_down(**_: Any) -> None:
    for presence in _present:
        presence.drain()


@worker_shutdown.connect  # type: ignore[untyped-decorator]
def _shut_down(**_: Any) -> None:
    for presence in _present:
        presence.leave()
