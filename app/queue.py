"""Telling Celery workers that a job may be waiting. The job itself is in Redis; this is only a hint."""

from __future__ import annotations

from celery import Celery
from kombu.exceptions import OperationalError

from app.logs import get_logger
from app.settings import Settings
from app.store.connections import REFUSED
from app.store.keys import QUEUE_NAME, Keys

RUN_NEXT = "gradsift.run_next"
log = get_logger(__name__)


def broker_url(redis_url: str) -> str:
    """Celery's form of a Redis URL: a unix socket is written `redis+socket://`."""
    scheme, _, rest = redis_url.partition("://")
    if scheme != "unix":
        return redis_url
    path, _, query = rest.partition("?")
    database = next((part.removeprefix("db=") for part in query.split("&") if part.startswith("db=")), "0")
    return f"redis+socket://{path}?virtual_host={database}"


def make_celery(settings: Settings) -> Celery:
    """The Celery application, the same for those who hint and those who work.

    Messages are acknowledged early and results ignored: a job's lease in Redis decides who runs it, so
    Celery's redelivery of long tasks (visibility timeout) must never be what a job depends on.
    """
    celery = Celery("gradsift", broker=broker_url(settings.redis_url), set_as_current=False)
    celery.conf.update(
        task_default_queue=QUEUE_NAME,
        task_ignore_result=True,
        task_store_errors_even_if_ignored=False,
        task_acks_late=False,
        task_serializer="json",
        accept_content=["json"],
        worker_prefetch_multiplier=1,
        worker_concurrency=1,
        worker_pool_start_method="spawn",
        # A child that was not forked loads torch before it is up: seconds, or a minute on a machine that has
        # much to do. Celery kills it after 4 s.
        worker_proc_alive_timeout=600.0,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        worker_send_task_events=settings.celery_events,
        task_send_sent_event=settings.celery_events,
        worker_enable_remote_control=settings.celery_events,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_transport_options={
            "visibility_timeout": 24 * 3600,
            "global_keyprefix": Keys(settings.key_prefix).celery_prefix,
            "socket_keepalive": True,
        },
    )
    return celery


def send_hint(celery: Celery) -> None:
    """One message to whichever worker is free: look into the queue.

    A message that cannot be sent is no failure: the job is recorded, and the reaper hints again.
    """
    try:
        celery.send_task(RUN_NEXT, retry=False, ignore_result=True)
    except (OperationalError, REFUSED) as error:
        log.warning("hint not sent", error=str(error))
