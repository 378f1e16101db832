"""The API under mixed traffic: its capacity, a soak at two thirds of it, and three times as much.

    python benchmarks/load.py                    finds the capacity
    python benchmarks/load.py --soak 10          ten minutes at two thirds of it, with jobs running
    python benchmarks/load.py --overload 30      thirty seconds at three times it

Everything (API, worker, Redis, clients) shares the cores of this machine, which is part of what is measured.
With --apart the clients have one core and the service the others: what clients do takes nothing from it.
"""

from __future__ import annotations

import argparse
import os
import time
from dataclasses import dataclass

import numpy as np
from load_service import LoadedService, Usage
from load_traffic import Told, ceiling, traffic

GOOD_SHARE, GOOD_P99_MS = 0.995, 250.0
"""A rate is within the capacity if so many requests are answered, so fast."""
STEP = 1.3


def main() -> None:
    args = arguments()
    print(f"{os.cpu_count()} cores shared by all; the client alone can do {ceiling():,.0f} requests a second")
    cores = os.sched_getaffinity(0)
    client_cores = {max(cores)} if args.apart else cores
    if args.apart:
        os.sched_setaffinity(0, cores - client_cores)  # what is started from here on
    with LoadedService(args.samples, job=not args.no_job, client_cores=client_cores) as service:
        service.warm_up()
        capacity = args.capacity or find_capacity(service, args.step_seconds)
        print(f"\ncapacity: {capacity:.0f} requests a second (of the mixture)\n")
        if args.soak:
            soak(service, capacity * 2 / 3, args.soak)
        if args.overload:
            overload(service, capacity, args.overload)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--samples", type=int, default=100_000)
    parser.add_argument("--step-seconds", type=float, default=8.0)
    parser.add_argument("--capacity", type=float, help="requests a second, where it is known already")
    parser.add_argument("--soak", type=float, metavar="MINUTES")
    parser.add_argument("--overload", type=float, metavar="SECONDS")
    parser.add_argument("--no-job", action="store_true", help="without a score job beside the traffic")
    parser.add_argument("--apart", action="store_true", help="the clients on a core of their own")
    return parser.parse_args()


# -- capacity ------------------------------------------------------------------------------------------------
def find_capacity(service: LoadedService, seconds: float) -> float:
    """The highest rate found that is answered well: up in steps, then between the last two."""
    print("| offered a second | answered | p50 ms | p99 ms | refused | failed | client CPU | left late |")
    print("|---|---|---|---|---|---|---|---|")
    rate, good = 100.0, 0.0
    while answered_well(service, rate, seconds):
        good, rate = rate, rate * STEP
    low, high = good, rate
    for _ in range(2):
        middle = (low + high) / 2
        low, high = (middle, high) if answered_well(service, middle, seconds) else (low, middle)
    return low


def answered_well(service: LoadedService, rate: float, seconds: float) -> bool:
    told = traffic(service, rate, seconds)
    p50, p99 = told.percentiles("accepted")
    share = told.count("accepted") / max(1, len(told))
    print(
        f"| {rate:.0f} | {share:.1%} | {p50:.1f} | {p99:.1f} | {told.count('refused')} "
        f"| {told.count('failed')} | {told.client_share:.0%} | {told.late_p99:.0f} |",
        flush=True,
    )
    time.sleep(1.0)
    return share >= GOOD_SHARE and p99 <= GOOD_P99_MS


# -- soak ----------------------------------------------------------------------------------------------------
def soak(service: LoadedService, rate: float, minutes: float) -> None:
    print(f"soak: {rate:.0f} requests a second for {minutes:g} minutes")
    print(
        "| minute | requests | errors | refused | p50 ms | p99 ms | RSS MB: "
        + ", ".join(service.parts())
        + " |"
    )
    print("|---|---|---|---|---|---|---|")
    usages: list[Usage] = []
    for minute in range(max(1, round(minutes))):
        told = traffic(service, rate, min(60.0, minutes * 60))
        usages.append(service.usage())
        p50, p99 = told.percentiles("accepted")
        memory = ", ".join(f"{value:.0f}" for value in usages[-1].values())
        print(
            f"| {minute + 1} | {len(told)} | {told.count('failed')} | {told.count('refused')} | {p50:.1f} "
            f"| {p99:.1f} | {memory} |",
            flush=True,
        )
    half = usages[len(usages) // 2]
    for part, now in usages[-1].items():
        print(f"{part}: {now / half[part] - 1:+.1%} in the second half")
    print(f"jobs that ended meanwhile: {service.jobs_ended()}")


# -- overload ------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Phase:
    name: str
    told: Told


def overload(service: LoadedService, capacity: float, seconds: float) -> None:
    """Usual traffic, then three times the capacity, then usual traffic again."""
    usual = Phase("usual, 2/3 of capacity", traffic(service, capacity * 2 / 3, max(8.0, seconds / 2)))
    much = Phase("3 times capacity", traffic(service, capacity * 3, seconds))
    after = Phase("usual again", traffic(service, capacity * 2 / 3, max(8.0, seconds / 2)))
    columns = (
        "phase",
        "requests",
        "accepted",
        "refused",
        "failed",
        "accepted p50, p99 ms",
        "refused",
        "left late",
    )
    print("| " + " | ".join(columns) + " |\n" + "|---" * len(columns) + "|")
    for phase in (usual, much, after):
        told = phase.told
        accepted, refused = told.percentiles("accepted"), told.percentiles("refused")
        print(
            f"| {phase.name} | {len(told)} | {told.count('accepted')} | {told.count('refused')} "
            f"| {told.count('failed')} | {accepted[0]:.1f}, {accepted[1]:.1f} "
            f"| {refused[0]:.1f}, {refused[1]:.1f} | {told.late_p99:.0f} |"
        )
    usual_p99 = usual.told.percentiles("accepted")[1]
    print("by kind, p99 of the accepted, usual and at three times: " + by_kind(usual.told, much.told))
    print(f"accepted p99: {much.told.percentiles('accepted')[1] / usual_p99:.2f} times the usual one")
    lost = service.lost_rows([*usual.told.stored(), *much.told.stored(), *after.told.stored()])
    print(f"rows that were accepted and are not there: {lost}")
    print(f"recovered after {recovery(after.told, usual_p99):.0f} s")


def by_kind(usual: Told, much: Told) -> str:
    kinds = sorted(set(usual.kinds.tolist()))
    return ", ".join(f"{kind} {usual.p99_of(kind):.0f} and {much.p99_of(kind):.0f}" for kind in kinds)


def recovery(told: Told, usual_p99: float) -> float:
    """From which second on 98 % are accepted within twice the usual p99."""
    bad = (told.states != "accepted") | (told.milliseconds > 2 * usual_p99)
    for second in range(int(told.due.max()) + 1):
        rest = bad[told.due >= second]
        if len(rest) and np.mean(rest) <= 0.02:
            return float(second)
    return float("inf")


if __name__ == "__main__":
    main()
