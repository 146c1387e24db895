"""How quickly the API answers, idle and during two renders: python -m benchmarks.latency [OTHER_CHECKOUT].

With another checkout, both servers run at once and are asked in turn, so that whatever else the machine does affects
both. Prints milliseconds, the ratio of busy to idle, and how the two checkouts compare, also in time to healthy.
"""

import statistics
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import requests

from benchmarks.serving import ROOT, Running, serving, submit, wait_for_video

ASKED = 300
STARTS = 5


def main() -> None:
    roots = [*map(Path, sys.argv[1:]), ROOT]
    if len(roots) > 1:
        compare_starts(roots)
    with ExitStack() as stack:
        servers = [stack.enter_context(serving(root)) for root in roots]
        tasks = [submit(server.url, duration=0.1) for server in servers]
        for server, task in zip(servers, tasks, strict=True):
            wait_for_video(server.url, task)
        idle = times(servers, tasks)
        if len(roots) == 1:  # two servers' renders would slow each other down
            compare_busy(servers[0], tasks[0], idle[0])
    for root, values in zip(roots, idle, strict=True):
        show(f"{root}, idle", values)
    if len(roots) > 1:
        ratios = [before / after for before, after in zip(*idle, strict=True)]
        print(f"status: {statistics.median(ratios):.2f} times as quick as {roots[0]}")


def compare_starts(roots: list[Path]) -> None:
    found: list[list[float]] = [[] for _ in roots]
    for _ in range(STARTS):
        for root, seconds in zip(roots, found, strict=True):
            with serving(root) as server:
                seconds.append(server.healthy_s)
    for root, seconds in zip(roots, found, strict=True):
        print(f"{root}: healthy after {statistics.median(seconds):.2f} s (least {min(seconds):.2f})")


def compare_busy(server: Running, task: str, idle: list[float]) -> None:
    for _ in range(2):
        submit(server.url, min_resolution=1024, fps=60)
    while server.health()["slots_busy"] < 2:
        time.sleep(0.05)
    (busy,) = times([server], [task])
    print(f"slots busy at the end: {server.health()['slots_busy']}")
    show("two renders", busy)
    print(f"ratio of the medians {statistics.median(busy) / statistics.median(idle):.2f}")


def times(servers: list[Running], tasks: list[str]) -> list[list[float]]:
    """Return the milliseconds of status requests, by server."""
    found: list[list[float]] = [[] for _ in servers]
    with ExitStack() as stack:
        sessions = [stack.enter_context(requests.Session()) for _ in servers]
        for _ in range(ASKED):
            for server, session, task, values in zip(servers, sessions, tasks, found, strict=True):
                start = time.perf_counter()
                session.get(f"{server.url}/api/v1/synthesis/{task}/status").raise_for_status()
                values.append((time.perf_counter() - start) * 1000)
                time.sleep(0.01)
    return found


def show(name: str, values: list[float]) -> None:
    print(f"{name}: median {statistics.median(values):.2f} ms, p99 {sorted(values)[int(0.99 * ASKED)]:.2f} ms")


if __name__ == "__main__":
    main()
