"""How long the first POST of an upload takes, against another checkout: python -m benchmarks.first_post FOLDER.

Both servers run at once, each in its own folder and with its own environment (`.venv`), and are asked in turn, so that
whatever else the machine does affects both. Each pair of files is new, so no inspection is remembered.
"""

import statistics
import sys
import time
from contextlib import ExitStack
from pathlib import Path

from benchmarks.serving import EXAMPLES, ROOT, serving, submit

POSTS = 60
PAUSE_S = 0.5
"""After each upload, for its render: the benchmark measures idle servers."""


def post(url: str, number: int) -> float:
    """Return the milliseconds that a POST took."""
    image = (EXAMPLES / "portrait.jpg").read_bytes() + b"%d" % number
    start = time.perf_counter()
    submit(url, image, duration=0.1)
    return (time.perf_counter() - start) * 1000


def main() -> None:
    roots = [Path(sys.argv[1]), ROOT]
    with ExitStack() as stack:
        servers = [stack.enter_context(serving(root, queue_size=1000)) for root in roots]
        for root, server in zip(roots, servers, strict=True):
            print(f"{root}: healthy after {server.healthy_s:.2f} s, models loaded after {server.loaded_s:.2f} s")
        times: list[list[float]] = [[], []]
        for number in range(POSTS):
            for server, taken in zip(servers, times, strict=True):
                taken.append(post(server.url, number))
                time.sleep(PAUSE_S)
    for root, taken in zip(roots, times, strict=True):
        p95 = sorted(taken)[int(0.95 * POSTS)]
        print(f"{root}: median {statistics.median(taken):.0f} ms, p95 {p95:.0f} ms, least {min(taken):.0f} ms")
    ratios = [before / after for before, after in zip(*times, strict=True)]
    print(f"times as quick: median {statistics.median(ratios):.2f}")


if __name__ == "__main__":
    main()
