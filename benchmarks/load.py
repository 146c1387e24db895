"""How the API bears a crowd: two renders in work, 100 tasks waiting, 200 clients asking, and large uploads.

Run: python -m benchmarks.load [--against BEFORE], where BEFORE is another state of this project to measure first: a
checkout, or a commit of this one. Starts servers of its own, in a temporary folder, with the real lite engine. It takes
two minutes for each state, for both cores are busy, and ends with a table of all figures and what is promised. Exit
code 1 when a promise is broken: an answer that is not documented, a slow status, memory that grows.

Where other work goes on, put this before it, or that is what is measured (as root; renders still give way):
setsid -w sh -c "echo -15 > /proc/self/autogroup; exec python -m benchmarks.load"
"""

import argparse
import asyncio
import io
import json
import re
import subprocess
import sys
import tempfile
import time
import wave
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.serving import Running, serving

HERE = Path(__file__).parent.parent
EXAMPLES = HERE / "examples"
QUEUE, CLIENTS, UPLOADS = 100, 200, 8
INTERVAL_S = 1.0
"""Between two questions of one client; the documented client asks every five seconds."""
P99_MS, GROWTH_MB = 50, 64
"""What is promised: how quick a status is, and how little eight uploads of 60 MB add to the API's memory."""
BOUNDARY = b"boundary"


@dataclass
class Load:
    """What happened during one phase."""

    milliseconds: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)

    def percentile(self, share: float) -> float:
        return sorted(self.milliseconds)[int(share * (len(self.milliseconds) - 1))]


@dataclass(frozen=True)
class Server(Running):
    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def memory_mb(self, kind: str) -> float:
        """Return the memory in use. `kind`: `VmRSS` for now, `VmHWM` for the peak since `forget_peak`."""
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.findall(rf"{kind}:\s+(\d+)", text)[0]) / 1024

    def forget_peak(self) -> None:
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")


@dataclass(frozen=True)
class Figure:
    """One line of the table. `kept`: None where nothing is promised."""

    name: str
    value: str
    promised: str = ""
    kept: bool | None = None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--against", metavar="BEFORE", help="a checkout or a commit, measured first")
    parser.add_argument("--seconds", type=float, default=20, help="length of each phase")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        checkouts = [unpacked(arguments.against, Path(folder))] if arguments.against else []
        found = [measure(checkout, arguments.seconds) for checkout in (*checkouts, HERE)]
    print_table(found)
    sys.exit(not all(figure.kept is not False for figure in found[-1]))


def unpacked(state: str, folder: Path) -> Path:
    """Return the checkout of a state; a commit is unpacked below `folder`."""
    if Path(state).is_dir():
        return Path(state)
    archive = subprocess.run(["git", "archive", "--format=tar", state], cwd=HERE, stdout=subprocess.PIPE, check=True)
    subprocess.run(["tar", "-x", "-C", str(folder)], input=archive.stdout, check=True)
    return folder


def print_table(found: list[list[Figure]]) -> None:
    """Print the figures of the last state, beside those of the state before if there is one."""
    heads = ["before", "now"] if len(found) == 2 else ["now"]
    print(f"\n{'':52}{'promised':>12}" + "".join(f"{head:>14}" for head in heads))
    for figures in zip(*found, strict=True):
        now = figures[-1]
        verdict = {None: "", True: "   kept", False: "   BROKEN"}[now.kept]
        print(f"{now.name:52}{now.promised:>12}" + "".join(f"{figure.value:>14}" for figure in figures) + verdict)


def measure(checkout: Path, seconds: float) -> list[Figure]:
    """Print what happens in each phase of one checkout. Return its figures."""
    print(f"\n{checkout.resolve()}")
    with tempfile.TemporaryDirectory() as folder:
        with running(checkout, folder, queue_size=QUEUE) as server:
            tasks, refused = asyncio.run(fill(server))
        print(f"{QUEUE + 1} submissions at the same time, {QUEUE} may wait: {len(tasks)} accepted, others {refused}")
        exact = len(tasks) == QUEUE and set(refused) == {503}
        name = f"of {QUEUE + 1} submissions at the same time: accepted"
        with running(checkout, folder, queue_size=QUEUE + UPLOADS) as server:  # the tasks are still there
            wait_until_busy(server)
            everyone = [tasks[number % len(tasks)] for number in range(CLIENTS)]
            return [
                Figure(name, str(len(tasks)), str(QUEUE), exact),
                *asyncio.run(crowd(server, everyone, seconds)),
            ]


async def crowd(server: Server, tasks: list[str], seconds: float) -> list[Figure]:
    """Run the phases with many clients. `tasks`: the task that each client asks about."""
    print(f"{'status, ms':44} requests    a second   median      p99      max   others than 200")
    calm = await poll(server, tasks, seconds, INTERVAL_S)
    report(f"{CLIENTS} clients, each once a second", calm, seconds)
    hasty = await poll(server, tasks, seconds, 0)
    report(f"{CLIENTS} clients, each as fast as it can", hasty, seconds)
    before = server.memory_mb("VmRSS")
    server.forget_peak()
    large = form(portrait(), speech(50 * 2**20 - 1000))
    begun = time.perf_counter()
    uploading = asyncio.gather(*(send(server, large) for _ in range(UPLOADS * 3 // 2)))
    beside = await poll(server, tasks, seconds, INTERVAL_S, until=uploading)
    report(f"the same once a second, beside {UPLOADS * 3 // 2} uploads", beside, time.perf_counter() - begun)
    taken = Counter(status for status, _ in await uploading)
    peak = server.memory_mb("VmHWM")
    print(
        f"uploads of {len(large) / 2**20:.0f} MB: {dict(taken)}; the API's memory: {before:.0f} MB, then {peak:.0f} MB"
    )
    health = server.health()
    print(f"slots busy at the end: {health['slots_busy']}, waiting: {health['queue_length']}")
    phases = {"once a second": calm, "as fast as they can": hasty, "once a second, beside the uploads": beside}
    figures = []
    for name, load in phases.items():
        p99, bound = (
            load.percentile(0.99),
            "" if load is hasty else f"< {P99_MS} ms",
        )  # that one is as slow as it is full
        figures.append(Figure(f"p99 of status, {name}", f"{p99:.1f} ms", bound, p99 < P99_MS if bound else None))
    errors = sum(number for load in phases.values() for status, number in load.statuses.items() if status != 200)
    figures.append(Figure("statuses answered", str(sum(load.statuses.total() for load in phases.values()))))
    figures.append(Figure("statuses answered with an error", str(errors), "0", errors == 0))
    name = f"of {UPLOADS * 3 // 2} uploads of {len(large) // 2**20} MB, with {UPLOADS} places: accepted"
    figures.append(Figure(name, str(taken[200]), str(UPLOADS), taken[200] == UPLOADS))
    undocumented = sum(number for status, number in taken.items() if status not in (200, 503))
    figures.append(Figure("others than 200 and 503", str(undocumented), "0", undocumented == 0))
    grown = peak - before
    figures.append(Figure("memory that they add to the API", f"{grown:.0f} MB", f"< {GROWTH_MB} MB", grown < GROWTH_MB))
    figures.append(Figure("slots busy at the end", str(health["slots_busy"]), "2", health["slots_busy"] == 2))
    return figures


def report(name: str, load: Load, seconds: float) -> None:
    count = len(load.milliseconds)
    figures = "".join(f"{load.percentile(share):9.1f}" for share in (0.5, 0.99, 1))
    others = {status: number for status, number in load.statuses.items() if status != 200}
    print(f"{name:44} {count:8} {count / seconds:11.0f}{figures}   {others or 'none'}", flush=True)


async def fill(server: Server) -> tuple[list[str], Counter[int]]:
    """Submit two long renders, then one more than may wait. Return the ids of those that wait, and the refusals."""
    long = form((EXAMPLES / "portrait.jpg").read_bytes(), speech(40 * 2**20), min_resolution=1024, fps=60)
    for _ in range(2):
        await send(server, long)
    await asyncio.to_thread(wait_until_busy, server)
    short = form((EXAMPLES / "portrait.jpg").read_bytes(), (EXAMPLES / "speech.wav").read_bytes())
    answers = await asyncio.gather(*(send(server, short) for _ in range(QUEUE + 1)))
    refused = Counter(status for status, _ in answers if status != 200)
    return [str(json.loads(body)["task_id"]) for status, body in answers if status == 200], refused


async def poll(
    server: Server, tasks: list[str], seconds: float, interval: float, until: asyncio.Future[Any] | None = None
) -> Load:
    """Have every client ask about its task, for `seconds` and until `until` is done."""
    load, end = Load(), time.perf_counter() + seconds

    async def ask(number: int, task: str) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        request = f"GET /api/v1/synthesis/{task}/status HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()
        await asyncio.sleep(interval * number / len(tasks))
        while time.perf_counter() < end or (until and not until.done()):
            begun = time.perf_counter()
            writer.write(request)
            status, _ = await answer(reader)
            took = time.perf_counter() - begun
            load.milliseconds.append(took * 1000)
            load.statuses[status] += 1
            await asyncio.sleep(max(0, interval - took))
        writer.close()

    await asyncio.gather(*(ask(number, task) for number, task in enumerate(tasks)))
    return load


async def send(server: Server, body: bytes) -> tuple[int, bytes]:
    """Send one upload, on a connection of its own."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    head = (
        "POST /api/v1/synthesis/start HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        f"Content-Type: multipart/form-data; boundary={BOUNDARY.decode()}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    writer.write(head.encode())
    for start in range(0, len(body), 2**18):
        writer.write(body[start : start + 2**18])
        await writer.drain()
    result = await answer(reader)
    writer.close()
    return result


async def answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """Return the status code and body of one response."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(re.findall(rb"content-length: (\d+)", head)[0])
    return int(head[9:12]), await reader.readexactly(length)


def form(image: bytes, audio: bytes, **options: float) -> bytes:
    """Return a multipart body."""
    parts = {"emotion": b"happy", "image": image, "audio": audio}
    parts |= {name: str(value).encode() for name, value in options.items()}
    files = {"image": b'; filename="image"', "audio": b'; filename="audio"'}
    body = b""
    for name, value in parts.items():
        head = b'--%b\r\nContent-Disposition: form-data; name="%b"%b\r\n\r\n'
        body += head % (BOUNDARY, name.encode(), files.get(name, b"")) + value + b"\r\n"
    return body + b"--%b--\r\n" % BOUNDARY


def portrait() -> bytes:
    """Return a PNG of nearly 10 MB, filled with noise, which does not compress."""
    noise = np.random.default_rng(0).integers(0, 256, (1860, 1860, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, "PNG")
    return file.getvalue()


def speech(size: int) -> bytes:
    """Return the example's speech, repeated, as a WAV of about `size` bytes."""
    file = io.BytesIO()
    with wave.open(str(EXAMPLES / "speech.wav")) as source, wave.open(file, "wb") as target:
        target.setparams(source.getparams())
        once = source.readframes(source.getnframes())
        target.writeframes((once * (size // len(once) + 1))[: size // 2 * 2])
    return file.getvalue()


@contextmanager
def running(checkout: Path, folder: str, queue_size: int) -> Iterator[Server]:
    """Run a server of that checkout, ready to render."""
    with serving(checkout, data_dir=folder, log_dir=folder, queue_size=queue_size, shutdown_seconds=0) as server:
        yield Server(server.url, server.process, server.healthy_s, server.loaded_s)


def wait_until_busy(server: Server) -> None:
    while server.health()["slots_busy"] < 2:
        time.sleep(0.1)


if __name__ == "__main__":
    main()
