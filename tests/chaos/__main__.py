"""A storm against the real service, as long as you like.

python -m tests.chaos --kills 200 --redis-kills 30 --duplicates 300 --pairs 1000000 --seed 1
"""

from __future__ import annotations

import argparse
import random
import signal
import sys
from dataclasses import fields, replace

from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from tests.chaos.faults import FAULTS
from tests.chaos.plan import LONG, SHORT, Plan
from tests.chaos.run import run_storm


def main() -> int:
    plan = _asked_for()
    for number in (signal.SIGTERM, signal.SIGINT):  # both clean up, also where the shell ignores the latter
        signal.signal(number, signal.default_int_handler)
    print(f"storm with {plan}", flush=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    try:
        with Progress(*columns) as progress:
            task = progress.add_task("the service starts", total=1.0)
            report = run_storm(
                plan, lambda what, share: progress.update(task, description=what, completed=share)
            )
    except KeyboardInterrupt:
        print("stopped; nothing is left running", flush=True)
        return 130
    print(report.text(), flush=True)
    return 1 if report.faults else 0


def _asked_for() -> Plan:
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__, allow_abbrev=False)
    parser.add_argument("--short", action="store_true", help="the form that the tests run")
    parser.add_argument("--fault", choices=sorted(FAULTS), help="plant a fault: the storm must find it")
    numbers = [field for field in fields(Plan) if field.name not in ("fault", "sleep")]
    for field in numbers:
        kind = float if field.name.endswith("seconds") else int
        parser.add_argument(f"--{field.name.replace('_', '-')}", type=kind, default=None)
    asked = vars(parser.parse_args())
    plan = SHORT if asked.pop("short") else replace(LONG, seed=random.randrange(2**31))
    return replace(plan, **{name: value for name, value in asked.items() if value is not None})


if __name__ == "__main__":
    sys.exit(main())
