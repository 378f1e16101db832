"""Load on one server, from a process of its own: wrk where it is installed, else a client in Python."""

from __future__ import annotations

import asyncio
import json
import random
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass

from api_state import NAME, sample_id

CONNECTIONS = 32
_UNITS = {"us": 1e-3, "ms": 1.0, "s": 1e3}
_WRK_SCRIPT = """
math.randomseed(1)
request = function()
  local path = '{path}'
  if {samples} > 0 then path = string.format(path, math.random(0, {samples} - 1)) end
  return wrk.format('GET', path)
end
"""


@dataclass(frozen=True)
class Load:
    """What came of one round."""

    requests: int
    requests_per_second: float
    p50_ms: float
    p99_ms: float


def generator() -> str:
    return "wrk" if shutil.which("wrk") else "a client in Python"


def load(port: int, path: str, samples: int, seconds: float) -> Load:
    """GET `path` over 32 connections; a `%013d` in it becomes a random number below `samples`."""
    if shutil.which("wrk"):
        return _wrk(port, path, samples, seconds)
    command = [sys.executable, __file__, str(port), path, str(samples), str(seconds)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return Load(**json.loads(done.stdout))


def _wrk(port: int, path: str, samples: int, seconds: float) -> Load:
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(_WRK_SCRIPT.format(path=path, samples=samples))
        script.flush()
        command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds:.0f}s", "--latency", "-s", script.name]
        command.append(f"http://127.0.0.1:{port}")
        done = subprocess.run(command, check=True, capture_output=True, text=True)
    told = done.stdout
    if "Non-2xx" in told or "Socket errors" in told:
        raise RuntimeError(told)
    counted = re.search(r"(\d+) requests in ([\d.]+)s", told)
    assert counted is not None
    p50, p99 = (_milliseconds(told, share) for share in ("50%", "99%"))
    return Load(int(counted[1]), int(counted[1]) / float(counted[2]), p50, p99)


def _milliseconds(told: str, share: str) -> float:
    found = re.search(rf"^\s+{share}\s+([\d.]+)(us|ms|s)$", told, re.MULTILINE)
    assert found is not None
    return float(found[1]) * _UNITS[found[2]]


# -- the client in Python ------------------------------------------------------------------------------------
async def _connection(port: int, path: str, samples: int, until: float, times: list[float]) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    while time.perf_counter() < until:
        target = path % random.randrange(samples) if samples else path
        began = time.perf_counter()
        writer.write(f"GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        if not head.startswith(b"http/1.1 200"):
            raise RuntimeError(head.decode())
        await reader.readexactly(int(head.partition(b"content-length:")[2].split(b"\r\n")[0]))
        times.append(time.perf_counter() - began)
    writer.close()


async def _client(port: int, path: str, samples: int, seconds: float) -> Load:
    times: list[float] = []
    until = time.perf_counter() + seconds
    await asyncio.gather(*(_connection(port, path, samples, until, times) for _ in range(CONNECTIONS)))
    return load_of(times, seconds)


def load_of(times: list[float], seconds: float) -> Load:
    shares = statistics.quantiles(times, n=100)
    return Load(len(times), len(times) / seconds, 1e3 * shares[49], 1e3 * shares[98])


def score_path() -> str:
    return f"/v1/datasets/{NAME}/scores/{sample_id(0)[:-13]}%013d"


def main() -> None:
    port, path, samples, seconds = sys.argv[1:]
    print(json.dumps(asyncio.run(_client(int(port), path, int(samples), float(seconds))).__dict__))


if __name__ == "__main__":
    main()
