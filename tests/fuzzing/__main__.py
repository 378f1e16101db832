"""`make fuzz`: schemathesis, all phases and checks, until so many requests have been sent.

Rounds with keys and without take turns, each on a new service.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.fuzzing.run import Outcome, fuzz
from tests.fuzzing.service import fuzzed_service

KEY = "a-key-for-fuzzing-only"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=20_000, help="at least so many")
    parser.add_argument("--examples", type=int, default=100, help="of each operation, in each round")
    parser.add_argument(
        "--seed", type=int, default=1, help="of the first round; each further one has the next"
    )
    asked = parser.parse_args()
    requests: Counter[tuple[str, str, int]] = Counter()
    seed, failed, began = asked.seed, 0, time.monotonic()
    while requests.total() < asked.requests or seed < asked.seed + 2:
        key = KEY if (seed - asked.seed) % 2 == 0 else None
        outcome = _round(key, seed, asked.examples)
        requests += outcome.requests
        failed += outcome.code != 0
        print(
            f"seed {seed}, keys {'off' if key is None else 'on'}: exit {outcome.code}, "
            f"{requests.total():,} requests so far, {time.monotonic() - began:.0f} s",
            flush=True,
        )
        if outcome.code:
            print(outcome.output, flush=True)
        seed += 1
    _print_tables(requests)
    return 1 if failed else 0


def _round(key: str | None, seed: int, examples: int) -> Outcome:
    with tempfile.TemporaryDirectory() as folder, fuzzed_service(Path(folder), key=key) as service:
        return fuzz(service, Path(folder), key=key, seed=seed, options=["--max-examples", str(examples)])


def _print_tables(requests: Counter[tuple[str, str, int]]) -> None:
    classes = ("2xx", "4xx", "5xx")
    print(f"\n{'operation':66}{'requests':>10}" + "".join(f"{name:>8}" for name in classes))
    for operation in sorted({operation for _, operation, _ in requests}):
        of = Counter[str]()
        for (_, named, status), count in requests.items():
            if named == operation:
                of[f"{status // 100}xx"] += count
        print(f"{operation:66}{of.total():>10,}" + "".join(f"{of[name]:>8,}" for name in classes))
    phases = Counter[str]()
    for (phase, _, _), count in requests.items():
        phases[phase] += count
    print("\nby phase: " + ", ".join(f"{name} {count:,}" for name, count in phases.most_common()))
    print(f"requests: {requests.total():,}")


if __name__ == "__main__":
    sys.exit(main())
