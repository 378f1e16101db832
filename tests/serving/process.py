"""A started `gradsift serve`, alone, and plain sockets to it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx

from app.settings import Settings

START_SECONDS = 70.0


class Serve:
    """fd: a listening socket of several processes; one of its own, on a free port, when left out."""

    def __init__(
        self, settings: Settings, log: Path, *, listener: socket.socket | None = None, **env: str
    ) -> None:
        own = {f"GRADSIFT_{name.upper()}": str(getattr(settings, name)) for name in settings.model_fields_set}
        clean = {name: value for name, value in os.environ.items() if not name.startswith("GRADSIFT_")}
        command = [sys.executable, "-m", "app.cli", "serve", "--port", "0"]
        fds = () if listener is None else (listener.fileno(),)
        command += [part for fd in fds for part in ("--fd", str(fd))]
        self._log = log
        with log.open("ab") as stream:
            self.process = subprocess.Popen(
                command,
                env=clean | own | {"GRADSIFT_LOG_FORMAT": "json", "GRADSIFT_REAPER_SECONDS": "5"} | env,
                stdout=stream,
                stderr=stream,
                pass_fds=fds,
            )
        self.port = self._await_port()

    def _await_port(self) -> int:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            for line in self.log():
                if line.get("event") == "listening":
                    port = int(str(line["address"]).rpartition(":")[2])
                    if self._answers(port):
                        return port
            assert self.process.poll() is None, self._log.read_text()
            time.sleep(0.05)
        raise AssertionError(self._log.read_text())

    @staticmethod
    def _answers(port: int) -> bool:
        try:
            return httpx.get(f"http://127.0.0.1:{port}/healthz", timeout=5).status_code == 200
        except httpx.TransportError:
            return False

    def log(self) -> list[dict[str, Any]]:
        lines = self._log.read_text().splitlines()
        return [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")]

    def http(self, **options: Any) -> httpx.Client:
        return httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=30, **options)

    def connect(self, *, receive_buffer: int | None = None) -> socket.socket:
        plain = socket.socket()
        if receive_buffer is not None:
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        plain.settimeout(20)
        plain.connect(("127.0.0.1", self.port))
        return plain

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    def stop(self) -> int:
        if self.process.poll() is None:
            self.terminate()
        return self.process.wait(40)


def read_answer(plain: socket.socket) -> tuple[int, Mapping[str, str], bytes]:
    """One answer with a Content-Length; status 0 where the connection ended before it came."""
    held = b""
    try:
        while b"\r\n\r\n" not in held:
            part = plain.recv(65536)
            if not part:
                return 0, {}, held
            held += part
        head, _, body = held.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        while len(body) < int(headers.get("content-length", "0")):
            part = plain.recv(65536)
            if not part:
                return 0, headers, body
            body += part
    except ConnectionError:
        return 0, {}, held
    return int(first.split()[1]), headers, body
