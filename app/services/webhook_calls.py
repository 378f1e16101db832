"""Tells clients of the ends of their jobs: at least once, again where it fails, until it is given up."""

from __future__ import annotations

import msgspec
from anyio import CapacityLimiter, create_task_group, to_thread

from app.contracts import Job, now
from app.contracts.webhooks import Webhook, WebhookState
from app.logs import get_logger
from app.services.jobs import shown_job
from app.services.webhook_sending import CALL_SECONDS, NotDelivered, WebhookSender
from app.settings import Settings
from app.store.state import State

AGAIN_AFTER = (5.0, 30.0, 120.0, 600.0, 3600.0)
"""Seconds from one failed call to the next; then it is given up."""
CALLS_A_ROUND = 32
CALLS_AT_A_TIME = 8
TAKEN_SECONDS = 30.0 + CALL_SECONDS * CALLS_A_ROUND / CALLS_AT_A_TIME
"""How long a call belongs to the process that took it; of one that died it is another's afterwards."""
log = get_logger(__name__)


class WebhookCalls:
    def __init__(self, state: State, settings: Settings) -> None:
        self._state = state
        self._store = state.jobs.webhooks
        self._sender = WebhookSender(settings)

    async def round(self) -> list[str]:
        """Makes the calls that are due; `delivered`, `retried` or `failed` for each."""
        taken = await to_thread.run_sync(self._take)
        outcomes: list[str] = []
        limiter = CapacityLimiter(CALLS_AT_A_TIME)

        async def call(job_id: str) -> None:
            async with limiter:
                outcomes.append(await self._call(job_id))

        async with create_task_group() as tasks:
            for job_id in taken:
                tasks.start_soon(call, job_id)
        return outcomes

    def _take(self) -> list[str]:
        """Ends that are on disk: what was told of a job must not be taken back by a restart of Redis."""
        if not self._store.due():
            return []
        since = self._state.durability.incarnation()
        due = self._store.due()
        taken = [job_id for job_id in due[:CALLS_A_ROUND] if self._store.take(job_id, TAKEN_SECONDS)]
        if taken:
            self._state.make_durable(since=since)
        return taken

    async def _call(self, job_id: str) -> str:
        job, url = await to_thread.run_sync(self._ended, job_id)
        told = job.webhook or Webhook.of(url)
        try:
            await self._sender.send(url, message_id(job), body_of(job))
        except NotDelivered as failure:
            return await to_thread.run_sync(self._failed, job_id, told, failure)
        return await to_thread.run_sync(self._delivered, job_id, told)

    def _ended(self, job_id: str) -> tuple[Job, str]:
        return self._state.jobs.get(job_id), self._state.jobs.origin(job_id).webhook or ""

    def _delivered(self, job_id: str, told: Webhook) -> str:
        settled = {"state": WebhookState.DELIVERED, "attempts": told.attempts + 1, "settled_at": now()}
        told = told.model_copy(update={**settled, "last_error": None})
        self._settle(job_id, told)
        log.info("webhook delivered", job_id=job_id, host=told.host, attempts=told.attempts)
        return "delivered"

    def _failed(self, job_id: str, told: Webhook, failure: NotDelivered) -> str:
        attempts = told.attempts + 1
        told = told.model_copy(update={"attempts": attempts, "last_error": str(failure)})
        fields = {"job_id": job_id, "host": told.host, "attempts": attempts, "error": str(failure)}
        if failure.again and attempts <= len(AGAIN_AFTER):
            told = told.model_copy(update={"state": WebhookState.RETRYING})
            self._store.settle(job_id, told, AGAIN_AFTER[attempts - 1])
            log.info("webhook is called again later", **fields)
            return "retried"
        self._settle(job_id, told.model_copy(update={"state": WebhookState.FAILED, "settled_at": now()}))
        log.warning("webhook given up", **fields)
        return "failed"

    def _settle(self, job_id: str, told: Webhook) -> None:
        self._store.settle(job_id, told, None)
        self._state.archive.save_job(job_id)


def message_id(job: Job) -> str:
    """The same at every call of one job's end."""
    return f"msg_{job.id.removeprefix('job_')}"


def body_of(job: Job) -> bytes:
    """JOB of the contract, without what became of this very call."""
    shown = {name: value for name, value in shown_job(job).items() if name != "webhook"}
    return msgspec.json.encode(shown)
