"""The API as a part of `gradsift up`: its socket, its process, and whether the whole is ready."""

from __future__ import annotations

import errno
import http.client
import socket
import time
from collections.abc import Mapping, Sequence

from app.errors import GradSiftError
from app.up.parts import CommandPart

SPARE_SECONDS = 3.0
"""What the API may take beyond the time that its last requests have."""
_PROBE_SECONDS = 0.2
_ANY_ADDRESS = ("0.0.0.0", "::", "")


def listen(host: str, port: int) -> socket.socket:
    """The socket that the API serves. It is held here, so that nobody takes the port while the API restarts.

    Raises:
        GradSiftError: `port_in_use`, `cannot_listen`.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except (OSError, OverflowError) as error:
        if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
            raise GradSiftError(
                "port_in_use",
                f"port {port} of {host} is in use",
                remedy="Stop what listens there, or use another --port (0 picks a free one).",
            ) from error
        raise GradSiftError(
            "cannot_listen",
            f"cannot listen on port {port} of {host}: {error}",
            remedy="Use an address of this machine and a port from 1024 to 65535.",
        ) from error


def address_of(host: str, listener: socket.socket) -> str:
    port = listener.getsockname()[1]
    if host in _ANY_ADDRESS:
        host = "127.0.0.1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class ApiPart(CommandPart):
    """The API on a socket that this process holds too, until it is time to stop."""

    def __init__(
        self,
        command: Sequence[str],
        listener: socket.socket,
        *,
        env: Mapping[str, str],
        address: str,
        last_seconds: float,
    ) -> None:
        grace = last_seconds + SPARE_SECONDS
        super().__init__("api", command, env=env, grace=grace, pass_fds=(listener.fileno(),))
        self._listener = listener
        self._probe = ReadyProbe(address)

    @property
    def waiting_for(self) -> str:
        return self._probe.answer

    def ready(self) -> bool:
        return self._probe()

    def terminate(self) -> None:
        self._listener.close()  # a connection that nobody will answer is better refused
        super().terminate()


class ReadyProbe:
    """Asks `/readyz`, not too often, and keeps the answer."""

    def __init__(self, address: str) -> None:
        self._netloc = address.removeprefix("http://")
        self._next = 0.0
        self.answer = ""

    def __call__(self) -> bool:
        if time.monotonic() < self._next:
            return False
        status, self.answer = self._ask()
        self._next = time.monotonic() + _PROBE_SECONDS
        return status == http.client.OK

    def _ask(self) -> tuple[int, str]:
        connection = http.client.HTTPConnection(self._netloc, timeout=1.0)
        try:
            connection.request("GET", "/readyz")
            response = connection.getresponse()
            return response.status, response.read(1000).decode("utf-8", "replace")
        except (OSError, http.client.HTTPException) as error:
            return 0, f"no answer yet ({error})"
        finally:
            connection.close()
