"""The visits of each epoch as Parquet files: what the score records can be added up from again, to the bit.

Below a lineage's folder, for each of its runs:

    run-000001/epoch-0000-<fence>-<crc>.parquet   every visit of that epoch, once, by ordinal
    run-000001/closed-<fence>-<crc>.json          which of the files count, which shards the run wrote last
    run-000001/provenance-<fence>-<crc>.json      samples, model, code and machine of each attempt

A file carries the fence of its writer in its name and is never replaced: a worker that was taken for dead
and writes late spoils nothing, because the newer one's file wins. The CRC-32 of its content, also in the
name, tells a file that was altered. A sample is visited once an epoch, so the
order of the visits within a file does not matter; files are merged in the order of runs and epochs.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from app.errors import Damaged
from app.store.artifacts import Folder, crc_mark
from app.store.records import Ledger, Records, Visits, empty_records, merge_visits

VISIT = np.dtype(
    [
        ("ordinal", "<u4"),
        ("generation", "<u4"),
        ("at", "<u4"),  # unix seconds
        ("correct", "u1"),
        ("grad_norm", "<f8"),
        ("loss", "<f8"),
        ("el2n", "<f8"),
        ("margin", "<f8"),
        ("confidence", "<f8"),
        ("alignment", "<f8"),  # NaN where no direction was taken
    ]
)
SIGNALS = ("grad_norm", "loss", "el2n", "margin", "confidence", "alignment")
ROWS_A_GROUP = 65_536
LAST_STEP = 2**32 - 1
"""The step of a run's final write: beyond every other, so that it replaces what an earlier attempt left."""
_EPOCH = re.compile(r"run-(\d{6})/epoch-(\d{4})-(\d+)-([0-9a-f]{8})\.parquet")
_PROVENANCE = re.compile(r"run-(\d{6})/provenance-(\d+)-([0-9a-f]{8})\.json")
_CLOSED = re.compile(r"run-(\d{6})/closed-(\d+)-([0-9a-f]{8})\.json")


def visit_rows(visits: Visits, *, at: int) -> NDArray[np.void]:
    """(n,) of dtype VISIT."""
    rows = np.empty(len(visits.ordinals), dtype=VISIT)
    rows["ordinal"], rows["generation"], rows["at"] = visits.ordinals, visits.generations, at
    rows["correct"] = visits.correct
    for name in SIGNALS:
        signal = getattr(visits, name)
        rows[name] = np.nan if signal is None else signal
    return rows


@dataclass(frozen=True)
class Run:
    """One run of a lineage as its files tell it. `epochs`: the files that count, in order.

    A run is closed when its worker saw its end: all its visits are in the files, and every shard among
    `shards` (first and last of each stretch) was written with the run's final ledger.
    """

    number: int
    fence: int
    closed: bool
    epochs: tuple[str, ...]
    shards: tuple[tuple[int, int], ...] = ()
    job: str | None = None

    def wrote(self, shard: int) -> bool:
        return any(first <= shard <= last for first, last in self.shards)


@dataclass
class LineageDeltas:
    """The runs of one lineage, read by stretches of ordinals in bounded memory."""

    folder: Folder
    _metadata: dict[str, pq.FileMetaData] = field(default_factory=dict)

    # -- writing ---------------------------------------------------------------------------------------
    def write_epoch(self, run: int, epoch: int, fence: int, rows: NDArray[np.void]) -> str:
        """Stores an epoch's visits; answers the file's name."""
        ordered = rows[np.argsort(rows["ordinal"], kind="stable")]
        table = pa.table({column: ordered[column] for column in VISIT.names or ()})
        sink = pa.BufferOutputStream()
        pq.write_table(
            table,
            sink,
            compression="zstd",
            use_dictionary=False,
            column_encoding=dict.fromkeys(SIGNALS, "BYTE_STREAM_SPLIT")
            | dict.fromkeys(("ordinal", "generation", "at"), "DELTA_BINARY_PACKED"),
            row_group_size=ROWS_A_GROUP,
            write_page_checksum=True,
        )
        content = memoryview(sink.getvalue())
        name = f"run-{run:06}/epoch-{epoch:04}-{fence}-{crc_mark(content)}.parquet"
        self.folder.write(name, content)
        return name

    def close_run(
        self, run: int, fence: int, *, job: str, epochs: Sequence[str], shards: Iterable[int]
    ) -> None:
        """Says that the run has ended with these files; files of attempts that were overtaken go."""
        held = {"job": job, "epochs": list(epochs), "shards": stretches(shards)}
        content = json.dumps(held).encode()
        name = f"run-{run:06}/closed-{fence}-{crc_mark(content)}.json"
        self.folder.write(name, content)
        keep = {name, *epochs}
        for other in self.folder.names():
            found = _EPOCH.fullmatch(other) or _CLOSED.fullmatch(other)
            if found is None or other in keep:
                continue
            of_run, by = int(found.groups()[0]), int(found.groups()[-2])
            if of_run == run and by <= fence:
                self.folder.remove(other)

    def write_provenance(self, run: int, fence: int, told: Mapping[str, Any]) -> None:
        content = json.dumps(told, sort_keys=True, allow_nan=False).encode()
        self.folder.write(f"run-{run:06}/provenance-{fence}-{crc_mark(content)}.json", content)

    # -- reading ---------------------------------------------------------------------------------------
    def provenance(self) -> dict[int, dict[str, Any]]:
        """Run → what its newest attempt worked with. Raises Damaged."""
        newest: dict[int, tuple[int, str]] = {}
        for name in self.folder.names():
            if found := _PROVENANCE.fullmatch(name):
                run, fence = map(int, found.groups()[:2])
                newest[run] = max(newest.get(run, (-1, "")), (fence, name))
        told = {}
        for run, (_, name) in newest.items():
            try:
                told[run] = dict(json.loads(self.folder.read_checked(name)))
            except (OSError, ValueError) as error:
                raise damaged(self.folder, name, error) from error
        return told

    def runs(self) -> list[Run]:
        """Every run that left a file, oldest first."""
        epochs: dict[int, dict[int, tuple[int, str]]] = {}
        closed: dict[int, tuple[int, str]] = {}
        for name in self.folder.names():
            if found := _EPOCH.fullmatch(name):
                run, epoch, fence = map(int, found.groups()[:3])
                of_run = epochs.setdefault(run, {})
                of_run[epoch] = max(of_run.get(epoch, (-1, "")), (fence, name))
            elif found := _CLOSED.fullmatch(name):
                run, fence = map(int, found.groups()[:2])
                closed[run] = max(closed.get(run, (-1, "")), (fence, name))
        return [
            self._closed(number, *closed[number]) if number in closed else _open(number, epochs[number])
            for number in sorted({*epochs, *closed})
        ]

    def _closed(self, number: int, fence: int, name: str) -> Run:
        try:
            held: dict[str, Any] = json.loads(self.folder.read_checked(name))
            shards = tuple((int(first), int(last)) for first, last in held["shards"])
            return Run(number, fence, True, tuple(held["epochs"]), shards, str(held["job"]))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise damaged(self.folder, name, error) from error

    def visits(self, name: str, first: int, stop: int, *, whole: bool = True) -> NDArray[np.void]:
        """The visits of one file to ordinals `first` … `stop` − 1.

        whole: read all of the file once, so that it is known to be as it was written; what is read of it is
        checked in any case.

        Raises:
            Damaged: the file is gone or cannot be read.
        """
        try:
            if whole and name not in self._metadata:
                self.folder.check(name)
            with self.folder.open(name) as source:
                file = pq.ParquetFile(
                    source, metadata=self._metadata.get(name), page_checksum_verification=True
                )
                self._metadata[name] = file.metadata
                groups = [g for g in range(file.num_row_groups) if _overlaps(file.metadata, g, first, stop)]
                table = file.read_row_groups(groups)
        except (
            OSError,
            ValueError,
            KeyError,
        ) as error:  # what Arrow raises for a file that is none of its own
            raise damaged(self.folder, name, error) from error
        ordinals = table["ordinal"].to_numpy()
        start, end = np.searchsorted(ordinals, [first, stop])
        rows = np.empty(end - start, dtype=VISIT)
        for column in VISIT.names or ():
            rows[column] = table[column].to_numpy()[start:end]
        return rows

    def replay(self, runs: Sequence[Run], first: int, stop: int) -> Records:
        """The records of ordinals `first` … `stop` − 1 after these runs, added up anew."""
        records = empty_records(stop - first)
        for run in runs:
            for name in run.epochs:
                rows = self.visits(name, first, stop)
                merge_visits(
                    records, rows["ordinal"].astype(np.int64) - first, visits_of_rows(rows), at=rows["at"]
                )
        return records


def run_of(name: str) -> int | None:
    """The run that a file below a lineage's folder belongs to."""
    found = _EPOCH.fullmatch(name) or _CLOSED.fullmatch(name) or _PROVENANCE.fullmatch(name)
    return None if found is None else int(found[1])


def settled_by(runs: Sequence[Run], shard: int) -> Ledger | None:
    """The ledger that the last closed run which wrote the shard has left in it."""
    last = next((run for run in reversed(runs) if run.closed and run.wrote(shard)), None)
    return None if last is None else Ledger(last.fence, last.number, LAST_STEP)


def stretches(numbers: Iterable[int]) -> list[tuple[int, int]]:
    """`[3, 4, 5, 9]` → `[(3, 5), (9, 9)]`."""
    found: list[tuple[int, int]] = []
    for number in sorted(map(int, numbers)):
        if found and found[-1][1] == number - 1:
            found[-1] = (found[-1][0], number)
        else:
            found.append((number, number))
    return found


def damaged(folder: Folder, name: str, error: Exception) -> Damaged:
    return Damaged("damaged_file", f"{folder.location}/{name} cannot be read: {error}")


def _open(number: int, epochs: dict[int, tuple[int, str]]) -> Run:
    """A run whose worker did not see its end counts up to the first epoch that is missing."""
    there: list[str] = []
    while len(there) in epochs:
        there.append(epochs[len(there)][1])
    fence = max(fence for fence, _ in epochs.values())
    return Run(number, fence, False, tuple(there))


def _overlaps(metadata: pq.FileMetaData, group: int, first: int, stop: int) -> bool:
    statistics = metadata.row_group(group).column(0).statistics
    return bool(statistics.max >= first and statistics.min < stop)


def visits_of_rows(rows: NDArray[np.void]) -> Visits:
    """What `visit_rows` was made of."""
    return Visits(
        ordinals=rows["ordinal"].astype(np.int64),
        generations=rows["generation"],
        correct=rows["correct"].astype(np.bool_),
        **{name: rows[name] for name in SIGNALS},
    )
