"""Health check of a container: exit code 0 while a worker of this host says that it is there.

With the argument `predictor`: a predictor of this host.
"""

from __future__ import annotations

import socket
import sys
import time
from typing import cast

from app.settings import get_settings
from app.store.connections import connect
from app.store.keys import Keys


def main(part: str = "worker") -> int:
    settings = get_settings()
    keys = Keys(settings.key_prefix)
    present = keys.predictions.predictors if part == "predictor" else keys.jobs.workers
    found = connect(settings.redis_url).zrangebyscore(present, time.time() * 1000, "+inf")
    alive = cast("list[bytes]", found)
    mine = f"{socket.gethostname()}-".encode()
    return 0 if any(name.startswith(mine) for name in alive) else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
