"""Every setting of the service: one frozen object, read from the environment once, at start."""

from __future__ import annotations

import base64
import ipaddress
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from app.errors import Unsafe

KindName = Literal["score", "grow", "train", "compare", "import", "clean", "split", "label"]
CommaSeparated = Annotated[tuple[str, ...], NoDecode]
RATE_PATTERN = r"^[1-9][0-9]{0,6}/(second|minute|hour|day)$"


class Settings(BaseSettings):
    """Read from `GRADSIFT_*`; `docs/settings.md` lists them with their defaults."""

    model_config = SettingsConfigDict(env_prefix="GRADSIFT_", frozen=True, extra="ignore")

    # Where the state lives.
    redis_url: str = "redis://127.0.0.1:6379/0"
    data_url: str = "gradsift-data"
    key_prefix: str = Field(default="gs", pattern=r"^[A-Za-z0-9_-]{1,32}$")

    # Under which key users of behaviour logs are hashed; a random one is made and kept when none is given.
    pseudonym_key: SecretStr | None = Field(default=None, min_length=16)

    # Who may call, and which models may be loaded.
    api_keys: CommaSeparated = ()
    api_keys_file: Path | None = None
    allowed_models: CommaSeparated = ()
    allow_hub: bool = False
    max_model_bytes: int = Field(default=10 * 2**30, ge=1)

    # What may be asked of the service with one key that has no limits of its own.
    key_rate: str | None = Field(default=None, pattern=RATE_PATTERN)
    key_concurrent: int | None = Field(default=None, ge=1)
    key_queued_jobs: int | None = Field(default=None, ge=1)

    # Where import jobs may read, beside `<data dir>/imports`.
    import_urls: CommaSeparated = ()

    # Which hosts webhooks of jobs may go to, and what they are signed with.
    webhook_hosts: CommaSeparated = ()
    webhook_secret: SecretStr | None = None
    webhook_insecure: bool = False
    webhook_private: bool = False

    # Limits of one request.
    max_body_bytes: int = Field(default=32 * 2**20, ge=1024)
    max_line_bytes: int = Field(default=4 * 2**20, ge=1024)
    max_text_chars: int = Field(default=200_000, ge=1)
    max_file_bytes: int = Field(default=4 * 2**30, ge=1024)
    ingest_batch_rows: int = Field(default=5_000, ge=1, le=50_000)
    set_versions_kept: int = Field(default=32, ge=2)

    # How much one API process has at work at once; what is beyond is refused at once.
    max_lookups: int = Field(default=64, ge=1, le=10_000)
    max_requests: int = Field(default=16, ge=1, le=1_000)
    max_writers: int = Field(default=8, ge=1, le=1_000)
    max_streams: int = Field(default=64, ge=1, le=1_000)

    # What a client of a connection may take.
    max_connections: int = Field(default=1_000, ge=1, le=1_000_000)
    keep_alive_seconds: int = Field(default=75, ge=1, le=86_400)
    max_header_bytes: int = Field(default=65_536, ge=1_024)
    header_seconds: float = Field(default=10.0, gt=0.0)
    stall_seconds: float = Field(default=30.0, gt=0.0)

    # How it ends: how long it says so before it stops listening, and what the last requests get then.
    drain_seconds: float = Field(default=3.0, ge=0.0, le=600.0)
    shutdown_seconds: float = Field(default=20.0, ge=0.0, le=3_600.0)

    # Jobs: how soon a dead worker is noticed, how much work a crash can cost.
    lease_seconds: float = Field(default=6.0, gt=0.5)
    heartbeat_seconds: float = Field(default=1.0, gt=0.05)
    reaper_seconds: float = Field(default=0.5, gt=0.05)
    max_queued_jobs: int = Field(default=1_000, ge=1, le=10_000)
    max_crashes: int = Field(default=3, ge=1)
    flush_seconds: float = Field(default=2.0, ge=0.0)
    checkpoint_seconds: float = Field(default=30.0, ge=0.0)
    redis_outage_seconds: float = Field(default=120.0, ge=1.0)
    # Whether a worker without a GPU compiles the small kernels that make its scores cheap.
    cpu_kernels: bool = True

    # Which kinds of job this worker takes; all when empty.
    worker_kinds: Annotated[tuple[KindName, ...], NoDecode] = ()

    # What an hour of a worker costs, for estimates.
    cost_per_hour: float | None = Field(default=None, ge=0)
    cost_currency: str = Field(default="USD", min_length=1, max_length=16)

    # Housekeeping: how often, and how long a reader may be at an old version of a table.
    housekeeping_seconds: float = Field(default=30.0, ge=0.0)
    versions_kept_seconds: float = Field(default=3600.0, ge=0.0)

    # How long entries of the audit log are kept.
    audit_days: float = Field(default=365.0, gt=0.0)

    # Predictions: how long a request may take, how many may wait for a predictor.
    predict_seconds: float = Field(default=30.0, ge=1.0, le=600.0)
    predict_queue: int = Field(default=64, ge=1, le=10_000)

    # Whether workers tell Celery's monitors (Flower) of themselves and of the messages that they read.
    celery_events: bool = False

    # Where traces go, over OTLP and HTTP.
    otel_endpoint: str | None = Field(default=None, pattern=r"^https?://")

    # The project at Weights & Biases that `train` jobs are told to; wandb's own variables say where.
    wandb_project: str | None = Field(default=None, pattern=r"^[A-Za-z0-9_.\-]{1,128}$")

    # What the logs look like: "auto" is readable in a terminal and JSON elsewhere.
    log_format: Literal["auto", "json", "console"] = "auto"
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"

    @field_validator(
        *("api_keys_file", "pseudonym_key", "webhook_secret", "otel_endpoint", "wandb_project"),
        *("key_rate", "key_concurrent", "key_queued_jobs"),
        mode="before",
    )
    @classmethod
    def _empty_is_none(cls, value: object) -> object:
        return None if value == "" else value

    @field_validator(
        *("api_keys", "allowed_models", "import_urls", "webhook_hosts", "worker_kinds"), mode="before"
    )
    @classmethod
    def _split_commas(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("webhook_secret")
    @classmethod
    def _signs(cls, value: SecretStr | None) -> SecretStr | None:
        """As the Standard Webhooks have it: base64 of 24 to 64 bytes, behind `whsec_`."""
        if value is None:
            return None
        try:
            secret = base64.b64decode(value.get_secret_value().removeprefix("whsec_"), validate=True)
        except ValueError:
            secret = b""
        if not 24 <= len(secret) <= 64:
            raise ValueError("should be whsec_ and then 24 to 64 random bytes as base64")
        return value

    def keys(self) -> tuple[str, ...]:
        """Every API key that opens the service; empty when it runs without keys.

        Raises:
            Unsafe: a file of keys is named, but holds none: that must not mean that none are asked for.
        """
        if self.api_keys_file is None:
            return self.api_keys
        lines = self.api_keys_file.read_text(encoding="utf-8-sig", errors="replace").splitlines()
        from_file = tuple(line for line in map(str.strip, lines) if line and not line.startswith("#"))
        if not from_file:
            raise Unsafe(
                "invalid_settings",
                f"GRADSIFT_API_KEYS_FILE: {self.api_keys_file} holds no key",
                remedy="Write one key a line into the file, or unset GRADSIFT_API_KEYS_FILE.",
            )
        return self.api_keys + from_file


def refuse_open_bind(
    host: str, settings: Settings, any_stored_key: Callable[[], bool] = lambda: False
) -> None:
    """Without keys anyone who reaches the port owns the data, so only loopback may be bound.

    Args:
        any_stored_key: asked where the settings have none.

    Raises:
        Unsafe: `host` is not a loopback address, and there is no API key.
    """
    if settings.keys() or is_loopback(host) or any_stored_key():
        return
    raise Unsafe("unsafe_bind", f"refusing to listen on {host} without API keys")


def is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@lru_cache(maxsize=1)
def get_settings() -> Settings:
    return Settings()
