"""Keeps the parts of one service running: started in order, restarted when they die, stopped in reverse."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from app.errors import GradSiftError
from app.logs import get_logger
from app.up.parts import Part, describe_ending
from app.up.stop_signals import StopSignals, stop_signals

QUICK_DEATH_SECONDS = 10.0
QUICK_DEATHS = 5
LONGEST_BACKOFF_SECONDS = 10.0
PATIENCE_SECONDS = 20.0
_STARTING_TICK = 0.05
_RUNNING_TICK = 1.0

log = get_logger("gradsift.up")


@dataclass
class _Watched:
    part: Part
    start_at: float | None = 0.0
    """When to launch it next; None while it runs."""
    launched_at: float = 0.0
    ready: bool = False
    was_ready: bool = False
    complain_at: float = 0.0
    quick_deaths: int = 0


class Supervisor:
    """Runs `parts` until a signal asks to stop.

    Args:
        parts: in the order of starting; each waits until the ones before it have been ready once.
        on_ready: called once, when every part has been ready.
        backoff_seconds: the wait before the first restart; doubled at every quick death in a row.
    """

    def __init__(
        self, parts: Sequence[Part], *, on_ready: Callable[[], None], backoff_seconds: float = 0.2
    ) -> None:
        self._watched = [_Watched(part) for part in parts]
        self._on_ready = on_ready
        self._backoff = backoff_seconds
        self._announced = False

    def run(self) -> None:
        """Returns after a clean stop; to be called in the main thread, where signals arrive.

        Raises:
            GradSiftError: a part could not start, or kept dying (`part_keeps_dying`). All is stopped.
        """
        with stop_signals() as signals:
            try:
                while not signals.stops:
                    self._tick()
                    signals.wait(_RUNNING_TICK if self._announced and self._settled() else _STARTING_TICK)
            finally:
                self._stop(signals)

    def _settled(self) -> bool:
        return all(watched.ready for watched in self._watched)

    def _tick(self) -> None:
        for watched in self._watched:
            try:
                self._advance(watched)
            except GradSiftError as error:
                if not watched.was_ready:
                    raise
                self._died(watched, error.detail)
            if not watched.was_ready:
                return
        if not self._announced:
            self._announced = True
            self._on_ready()

    def _advance(self, watched: _Watched) -> None:
        part = watched.part
        if watched.start_at is not None:
            if time.monotonic() < watched.start_at:
                return
            watched.start_at, watched.launched_at = None, time.monotonic()
            watched.complain_at = watched.launched_at + PATIENCE_SECONDS
            part.launch()
            log.info("part started", name=part.name)
        status = part.poll()
        if status is None:
            watched.ready = watched.ready or part.ready()
            watched.was_ready = watched.was_ready or watched.ready
            _complain(watched)
            return
        if not watched.was_ready:
            part.ready()  # raises the reason where the part knows it
        self._died(watched, describe_ending(status))

    def _died(self, watched: _Watched, ending: str) -> None:
        quick = time.monotonic() - watched.launched_at < QUICK_DEATH_SECONDS
        watched.quick_deaths = watched.quick_deaths + 1 if quick else 0
        if watched.quick_deaths >= QUICK_DEATHS:
            raise GradSiftError(
                "part_keeps_dying",
                f"the {watched.part.name} died {QUICK_DEATHS} times in a row right after its start "
                f"(last: {ending})",
                remedy="Correct what its log lines above name, and start again.",
            )
        delay = min(self._backoff * 2**watched.quick_deaths, LONGEST_BACKOFF_SECONDS)
        watched.ready, watched.start_at = False, time.monotonic() + delay
        log.warning(
            "part died, starting it again", name=watched.part.name, ending=ending, delay_seconds=delay
        )

    def _stop(self, signals: StopSignals) -> None:
        for watched in reversed(self._watched):
            part = watched.part
            if part.poll() is None and watched.launched_at:
                log.info("stopping part", name=part.name)
                part.terminate()
                self._await_end(part, signals)
            part.kill()
            part.close()

    def _await_end(self, part: Part, signals: StopSignals) -> None:
        asked = time.monotonic()
        while part.poll() is None:
            grace = part.hurried_grace if signals.hurried else part.grace
            left = asked + grace - time.monotonic()
            if left <= 0:
                log.warning("part did not stop in time and is killed", name=part.name, grace_seconds=grace)
                return
            signals.wait(min(left, _RUNNING_TICK))


def _complain(watched: _Watched) -> None:
    now = time.monotonic()
    if watched.ready or now < watched.complain_at:
        return
    watched.complain_at = now + PATIENCE_SECONDS
    log.warning("part is not ready yet", name=watched.part.name, waiting_for=watched.part.waiting_for)
