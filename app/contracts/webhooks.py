"""What became of the call that tells a client of a job's end."""

from __future__ import annotations

from enum import StrEnum
from urllib.parse import urlsplit

from app.contracts.base import Record, Timestamp


class WebhookState(StrEnum):
    WAITING = "waiting"
    RETRYING = "retrying"
    DELIVERED = "delivered"
    FAILED = "failed"

    @property
    def settled(self) -> bool:
        return self in (WebhookState.DELIVERED, WebhookState.FAILED)


class Webhook(Record):
    """As shown in a job: of the URL, which may hold a secret, the host alone."""

    host: str
    state: WebhookState = WebhookState.WAITING
    attempts: int = 0
    last_error: str | None = None
    settled_at: Timestamp | None = None

    @classmethod
    def of(cls, url: str) -> Webhook:
        return cls(host=urlsplit(url).hostname or "")
