"""Maps that were drawn last, ready to be sent: a page that is loaded by many is drawn once."""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock

from app.contracts import Dataset
from app.services.data_map import MapSource, draw
from app.services.map_body import map_body
from app.store.state import State

MAPS_HELD = 2


class DrawnMaps:
    """Draws one at a time. A body has up to 20 bytes a sample, and whoever is sent it shares it."""

    def __init__(self) -> None:
        self._held: OrderedDict[tuple[str, int], bytes] = OrderedDict()
        self._lock = Lock()

    def body(self, state: State, dataset: Dataset, source: MapSource, limit: int) -> bytes:
        """Of the samples as they are now, or were when the source's mark was taken, or in between."""
        key = (source.mark, limit)
        with self._lock:
            body = self._held.pop(key, None)
            if body is None:
                version = None if source.version is None else source.version.version
                body = map_body(draw(state, dataset, source, limit), dataset, version, source.lineage)
            self._held[key] = body
            while len(self._held) > MAPS_HELD:
                self._held.popitem(last=False)
        return body
