"""Rows of any number from a stream: the next ones are checked while a batch is stored."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from types import TracebackType
from typing import Self

from app.errors import Malformed
from app.ingest.streams import Decoded, RowStream
from app.ingest.writing import Checked, Ingest, Outcome

ROWS_AT_ONCE = 500
"""Decoded and checked before it is asked again whether a batch is full."""


class IngestSession:
    """Context manager: feeds a stream's bytes to an `Ingest`, batch by batch.

    Memory is bounded by three batches: one that is stored, one that waits for it, one that fills.
    """

    def __init__(self, ingest: Ingest, stream: RowStream, *, batch_rows: int, batch_bytes: int) -> None:
        self._ingest = ingest
        self._stream = stream
        self._batch_rows = batch_rows
        self._batch_bytes = batch_bytes
        self._waiting: list[Checked] = []
        self._held_bytes = 0
        self._storing: Future[Outcome] | None = None
        self._began = False
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="store")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Returns when the batch under way is stored."""
        self._pool.shutdown(wait=True)

    def accept(self, chunk: bytes) -> None:
        """Takes in the next bytes.

        Raises:
            Malformed: they cannot be read on; says what is stored.
            Unavailable: as `Ingest.add`.
        """
        self._held_bytes += len(chunk)
        self._take(self._stream.feed(chunk))

    def finish(self) -> None:
        """All that was accepted is durable when this returns. Raises as `accept` does."""
        self._take(self._stream.finish())
        self._store_waiting(len(self._waiting))
        self._wait()

    def _take(self, rows: Iterable[Decoded]) -> None:
        remaining = iter(rows)
        try:
            while some := list(islice(remaining, ROWS_AT_ONCE)):
                self._waiting += self._ingest.check(some)
                while len(self._waiting) >= self._batch_rows:
                    self._store_waiting(self._batch_rows)
        except Malformed as error:
            raise self._with_what_is_stored(error) from error
        if self._held_bytes >= self._batch_bytes:
            self._store_waiting(len(self._waiting))

    def _store_waiting(self, rows: int) -> None:
        batch, self._waiting = self._waiting[:rows], self._waiting[rows:]
        self._held_bytes = 0
        self._wait()
        if batch:
            self._began = True
            self._storing = self._pool.submit(self._ingest.store, batch)

    def _wait(self) -> None:
        storing, self._storing = self._storing, None
        if storing is not None:
            self._ingest.note(storing.result())

    def _with_what_is_stored(self, error: Malformed) -> Malformed:
        """Of a body that breaks off in its first batch nothing is stored, of a longer one all before."""
        if not self._began:
            return error
        self._store_waiting(len(self._waiting))
        self._wait()
        report = self._ingest.report
        detail = f"{error.detail}; of the first {report.received} rows {report.stored} are stored, none after"
        return Malformed(error.code, detail, remedy=error.remedy, errors=report.rejected)
