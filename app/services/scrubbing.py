"""Takes deleted samples out of what jobs have left: reports, tables of predictions, responses, records.

Models that were trained on it stay as they are.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Set
from contextlib import suppress
from datetime import timedelta
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from app.contracts import Dataset
from app.errors import NotFound
from app.store.artifacts import Folder
from app.store.explanations import FOLDER as EXPLANATION
from app.store.explanations import Explanation
from app.store.state import State

ROWS_A_BATCH = 8_192
_ESCAPES = (("&", "&amp;"), (">", "&gt;"), ("<", "&lt;"), ("'", "&#39;"), ('"', "&#34;"))


def scrub_outputs(
    state: State, dataset: Dataset, ids: Set[str], ordinals: Set[int], kept_for: timedelta
) -> set[str]:
    """Answers the ids that were found anywhere; those of explanations, which know none, all together.

    kept_for: how long somebody may read what an explanation was.
    """
    found: set[str] = set()
    running = set(state.jobs.unfinished_of(dataset.uid))
    for folder in (state.results.folder(dataset.uid), state.responses.folder(dataset.uid)):
        for name in folder.names():
            job_id, _, rest = name.partition("/")
            if job_id not in running and not rest.startswith(f"{EXPLANATION}/"):
                found |= _scrub_file(folder, name, ids)
    for job_id in state.jobs.ids_of(dataset.uid):
        found |= _scrub_record(state, job_id, ids)
        explanation = Explanation(state.results.of_job(dataset.uid, job_id))
        if job_id not in running and explanation.forget(ordinals, kept_for):
            found |= ids
    return found


def _scrub_file(folder: Folder, name: str, ids: Set[str]) -> set[str]:
    scrub: dict[str, Callable[[Folder, str, Set[str]], set[str]]] = {
        "json": _scrub_json,
        "html": _scrub_page,
        "parquet": _scrub_table,
    }
    kind = scrub.get(name.rpartition(".")[2])
    return set() if kind is None else kind(folder, name, ids)


def _scrub_json(folder: Folder, name: str, ids: Set[str]) -> set[str]:
    content = folder.read(name) or b""
    if not _may_hold(content, ids):
        return set()
    found: set[str] = set()
    try:
        kept = without(json.loads(content), ids, found)
    except ValueError:
        return set()
    if found:
        folder.write(name, json.dumps(kept, ensure_ascii=False).encode())
    return found


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


def _scrub_page(folder: Folder, name: str, ids: Set[str]) -> set[str]:
    """Rows of tables whose first cell is such an id."""
    page = (folder.read(name) or b"").decode()
    found = set()
    for sample_id in ids:
        cell = re.escape(_escaped(sample_id))
        page, rows = re.subn(rf"<tr><td[^>]*>{cell}</td>.*?</tr>\n?", "", page, flags=re.DOTALL)
        if rows:
            found.add(sample_id)
    if found:
        folder.write(name, page.encode())
    return found


def _escaped(text: str) -> str:
    for plain, escaped in _ESCAPES:
        text = text.replace(plain, escaped)
    return text


def _scrub_table(folder: Folder, name: str, ids: Set[str]) -> set[str]:
    """Rows with such an `id`, of a table of any length."""
    wanted = pa.array(sorted(ids), type=pa.string())
    with folder.open(name) as stream:
        file = pq.ParquetFile(stream, pre_buffer=False)
        if "id" not in file.schema_arrow.names:
            return set()
        found: set[str] = set()
        for batch in file.iter_batches(batch_size=ROWS_A_BATCH, columns=["id"]):
            held = batch.filter(pc.is_in(batch["id"], value_set=wanted))
            found |= set(held["id"].to_pylist())
        if found:
            with (
                folder.writing(name) as sink,
                pq.ParquetWriter(sink, file.schema_arrow, compression="zstd") as writer,
            ):
                for batch in file.iter_batches(batch_size=ROWS_A_BATCH):
                    writer.write_batch(batch.filter(pc.invert(pc.is_in(batch["id"], value_set=wanted))))
    return found


def _scrub_record(state: State, job_id: str, ids: Set[str]) -> set[str]:
    """The `params` and the `result` of a job that has ended."""
    found: set[str] = set()
    with suppress(NotFound):
        job = state.jobs.get(job_id)
        if job.state.ended:
            shown = {"params": job.params, "result": job.result}
            kept = {name: without(value, ids, found) for name, value in shown.items()}
            if found:
                state.jobs.rewrite(job_id, kept["params"], kept["result"])
                state.archive.save_job(job_id)
    return found
