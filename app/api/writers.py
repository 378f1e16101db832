"""How many requests with rows are taken in at a time: each holds memory, and more of them are not faster."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from app.errors import Busy


class Writers:
    """Of one process; to be used on its event loop."""

    def __init__(self) -> None:
        self._inside = 0

    @contextmanager
    def admitted(self, most: int) -> Iterator[None]:
        """Raises Busy where so many are inside."""
        if self._inside >= most:
            raise Busy("too_many_writers", f"{self._inside} requests with rows are under way")
        self._inside += 1
        try:
            yield
        finally:
            self._inside -= 1
