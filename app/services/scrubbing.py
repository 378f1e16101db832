"""Takes deleted samples out of what jobs have left: reports, tables of predictions, responses, records.

Models that were trained on it stay as they are.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence, Set
from contextlib import suppress
from datetime import timedelta
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from app.contracts import Dataset, Job
from app.errors import NotFound
from app.store.artifacts import Folder
from app.store.deletions import Deletion
from app.store.explanations import FOLDER as EXPLANATION
from app.store.explanations import Explanation
from app.store.state import State

ROWS_A_BATCH = 8_192
_ESCAPES = (("&", "&amp;"), (">", "&gt;"), ("<", "&lt;"), ("'", "&#39;"), ('"', "&#34;"))


def scrub_outputs(
    state: State, dataset: Dataset, deleted: Sequence[Deletion], kept_for: timedelta
) -> set[int]:
    """Answers the ordinals that may have to be looked for again: a job that is at work may have read them.

    Jobs that were sent after a deletion know nothing of the sample, and may know another one of that id.

    kept_for: how long somebody may read what an explanation was.
    """
    ordinals = {one.ordinal for one in deleted}
    responses = state.responses.folder(dataset.uid)
    found: set[int] = set()
    for name in responses.names():
        found |= _scrub_table(responses, name, "ordinal", ordinals)
    for job_id in state.jobs.ids_of(dataset.uid):
        with suppress(NotFound):
            job = state.jobs.get(job_id)
            before = [one for one in deleted if job.created_at.timestamp() <= one.at]
            if before and job.state.ended:
                found |= _scrub_job(state, dataset, job, before, kept_for)
    return found


def _scrub_job(
    state: State, dataset: Dataset, job: Job, deleted: Sequence[Deletion], kept_for: timedelta
) -> set[int]:
    """The ordinals that an old version of its explanation may still show."""
    ids = {one.id for one in deleted}
    folder = state.results.of_job(dataset.uid, job.id)
    for name in folder.names():
        if not name.startswith(f"{EXPLANATION}/"):
            _scrub_file(folder, name, ids)
    _scrub_record(state, job, ids)
    ordinals = {one.ordinal for one in deleted}
    return ordinals if Explanation(folder).forget(ordinals, kept_for) else set()


def _scrub_file(folder: Folder, name: str, ids: Set[str]) -> None:
    kind = name.rpartition(".")[2]
    if kind == "json":
        _scrub_json(folder, name, ids)
    elif kind == "html":
        _scrub_page(folder, name, ids)
    elif kind == "parquet":
        _scrub_table(folder, name, "id", ids)


def _scrub_json(folder: Folder, name: str, ids: Set[str]) -> None:
    content = folder.read(name) or b""
    if not _may_hold(content, ids):
        return
    found: set[str] = set()
    try:
        kept = without(json.loads(content), ids, found)
    except ValueError:
        return
    if found:
        folder.write(name, json.dumps(kept, ensure_ascii=False).encode())


def _may_hold(content: bytes, ids: Set[str]) -> bool:
    """A quick look, before anything is parsed."""
    return any(one in content for i in ids for one in (i.encode(), json.dumps(i)[1:-1].encode()))


def without(value: Any, ids: Set[str], found: set[str], under: str = "") -> Any:
    """Without what is of these samples: objects with such an `id`, and such members of lists called `ids`."""
    again = partial(without, ids=ids, found=found)
    if isinstance(value, dict):
        if isinstance(value.get("id"), str) and value["id"] in ids:
            found.add(value["id"])
            return None
        return {name: again(held, under=name) for name, held in value.items()}
    if isinstance(value, list):
        if under == "ids":
            found |= {one for one in value if isinstance(one, str) and one in ids}
            return [one for one in value if one not in ids]
        kept = (again(one, under=under) for one in value)
        return [new for one, new in zip(value, kept, strict=True) if new is not None or one is None]
    return value


def _scrub_page(folder: Folder, name: str, ids: Set[str]) -> None:
    """Rows of tables whose first cell is such an id."""
    held = (folder.read(name) or b"").decode()
    page = held
    for sample_id in ids:
        cell = re.escape(_escaped(sample_id))
        page = re.sub(rf"<tr><td[^>]*>{cell}</td>.*?</tr>\n?", "", page, flags=re.DOTALL)
    if page != held:
        folder.write(name, page.encode())


def _escaped(text: str) -> str:
    for plain, escaped in _ESCAPES:
        text = text.replace(plain, escaped)
    return text


def _scrub_table(folder: Folder, name: str, column: str, values: Set[Any]) -> set[Any]:
    """Takes rows with such a value out of a table of any length; answers the values that were there."""
    wanted = pa.array(sorted(values))
    with folder.open(name) as stream:
        file = pq.ParquetFile(stream, pre_buffer=False)
        if column not in file.schema_arrow.names:
            return set()
        found: set[Any] = set()
        for batch in file.iter_batches(batch_size=ROWS_A_BATCH, columns=[column]):
            held = batch.filter(pc.is_in(batch[column], value_set=wanted))
            found |= set(held[column].to_pylist())
        if found:
            with (
                folder.writing(name) as sink,
                pq.ParquetWriter(sink, file.schema_arrow, compression="zstd") as writer,
            ):
                for batch in file.iter_batches(batch_size=ROWS_A_BATCH):
                    writer.write_batch(batch.filter(pc.invert(pc.is_in(batch[column], value_set=wanted))))
    return found


def _scrub_record(state: State, job: Job, ids: Set[str]) -> None:
    """What the job was asked, and what it answered."""
    found: set[str] = set()
    params, result = without(job.params, ids, found), without(job.result, ids, found)
    if found:
        state.jobs.rewrite(job.id, params, result)
        state.archive.save_job(job.id)
