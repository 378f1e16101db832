"""Clients that ask without a pause, and count what they are told."""

from __future__ import annotations

import http.client
import json
import threading
from collections import Counter
from contextlib import ExitStack


class Clients:
    """Threads that ask one thing after the other on connections that they keep, until nobody listens.

    polled: what else a third of them asks for.
    """

    def __init__(self, port: int, count: int, *, polled: str = "/v1/datasets/d") -> None:
        self.told: Counter[str] = Counter()
        self.stored: set[str] = set()
        self._port = port
        self._polled = polled
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._run, args=(number,)) for number in range(count)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stop.set()
        self.join()

    def join(self) -> None:
        for thread in self._threads:
            thread.join(60)

    def _run(self, client: int) -> None:
        with ExitStack() as stack:
            self._ask_on_and_on(client, stack)

    def _ask_on_and_on(self, client: int, stack: ExitStack) -> None:
        turn, connection = 0, None
        while not self._stop.is_set():
            if connection is None:
                connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
                stack.callback(connection.close)
                try:
                    connection.connect()
                except ConnectionRefusedError:
                    self._note("refused to connect")
                    return
            turn += 1
            if not self._ask(connection, client, turn):
                connection.close()
                connection = None

    def _ask(self, connection: http.client.HTTPConnection, client: int, turn: int) -> bool:
        """Whether the connection may be kept."""
        sample = f"c{client}-{turn}"
        try:
            if client % 3 == 0:
                body = json.dumps({"samples": [{"id": sample, "text": "some text"}]})
                connection.request(
                    "POST", "/v1/datasets/d/samples", body, {"Content-Type": "application/json"}
                )
            elif client % 3 == 1:
                connection.request("GET", "/v1/datasets/d/scores/a")
            else:
                connection.request("GET", self._polled)
            answer = connection.getresponse()
            answer.read()
        except (http.client.HTTPException, OSError) as error:
            self._note(f"no answer: {type(error).__name__}")
            return False
        self._note(str(answer.status))
        if client % 3 == 0 and answer.status == 200:
            with self._lock:
                self.stored.add(sample)
        return answer.headers.get("Connection", "").lower() != "close"

    def _note(self, what: str) -> None:
        with self._lock:
            self.told[what] += 1


def unanswered(told: Counter[str]) -> dict[str, int]:
    return {what: count for what, count in told.items() if what.startswith(("no answer", "5"))}
