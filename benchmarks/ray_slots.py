"""How many renders a second go through one Ray driver: python -m benchmarks.ray_slots [--seconds 15].

The engine only waits .2 s and writes 20 KB. All slots are places of one actor on one node, as those of the diffusion
engine on one GPU: real driver, real actor and real engine protocol, but not hundreds of processes. Inputs and results
lie in folders; there is neither HTTP nor a database. It measures what the cluster adds.
"""

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from pathlib import Path

import psutil

from api.rendering.cluster.slots import RaySlot, RaySlots
from api.rendering.slots import SlotJob
from api.settings import Settings
from api.storage.local import LocalFiles
from benchmarks.ray_cluster import DRIVER, Cluster, cluster
from benchmarks.serving import EXAMPLES
from dice_talk.diffusion.tiny import make_tiny_checkpoints
from dice_talk.engine import Progress
from dice_talk.labels import UNNAMED
from dice_talk.options import RenderOptions
from dice_talk.worker import claim_stdout

WORK_S, SIZES = 0.2, (10, 100, 400)
ENGINE = "diffusion"
OPTIONS = RenderOptions.model_validate({"emotion": "happy", "seed": 1})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=15)
    seconds = parser.parse_args().seconds
    with tempfile.TemporaryDirectory() as folder:
        make_tiny_checkpoints(Path(folder) / "checkpoints")
        for size in SIZES:
            with cluster() as ray:
                ray.start_node("node", size)
                asyncio.run(measure(ray, size, Path(folder), seconds))


async def measure(ray: Cluster, size: int, folder: Path, seconds: float) -> None:
    """Render as fast as possible on so many slots."""
    data = folder / str(size)
    data.mkdir()
    settings = Settings(
        data_dir=data, checkpoints_dir=folder / "checkpoints", ray_address=ray.address, render_on="ray", max_slots=size
    )
    pool = RaySlots(settings, lambda _: [sys.executable, "-m", "benchmarks.ray_slots", "engine"], driver=DRIVER)
    changed = asyncio.Event()
    await pool.start(ENGINE, lambda: size, changed.set)
    while len(pool.slots) < size or not pool.slots[0].ready(ENGINE):
        changed.clear()
        await changed.wait()
    files = LocalFiles(settings)
    driver = next(one for one in psutil.Process().children() if "driver" in one.cmdline())
    before, began = sum(driver.cpu_times()[:2]), time.monotonic()
    counts = await asyncio.gather(*(keep_busy(slot, files, began + seconds) for slot in pool.slots))
    took, cpu = time.monotonic() - began, sum(driver.cpu_times()[:2]) - before
    done = sum(counts)
    ideal = size / WORK_S
    print(
        f"{size:4} slots: {done / took:6.1f} renders/s, {done / took / ideal:.0%} of what waiting alone allows;"
        f" {1000 * cpu / done:.2f} ms of the driver's CPU each, {cpu / took:.0%} of a core",
        flush=True,
    )
    await pool.close()


async def keep_busy(slot: RaySlot, files: LocalFiles, end: float) -> int:
    """Render until a time. Returns how many renders there were."""
    count, render_id = 0, slot.id.replace("/", "-")
    with files.staging() as staging:
        for field, example in (("image", "portrait.jpg"), ("audio", "speech.wav")):
            staging.path(field).write_bytes((EXAMPLES / example).read_bytes())
        files.accept(staging.upload("", ""), render_id)

    async def ignore(progress: Progress) -> None:
        pass

    while time.monotonic() < end:
        attempt = files.begin(render_id)
        await slot.render(SlotJob(ENGINE, OPTIONS, UNNAMED, files, attempt), ignore)
        files.abandon(attempt)
        count += 1
    return count


async def engine() -> None:
    """Speak the protocol of `dice_talk.worker`, for an engine that waits."""
    messages = claim_stdout()
    commands = asyncio.StreamReader(limit=1 << 20)
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    works: set[asyncio.Task[None]] = set()

    def say(**message: object) -> None:
        messages.write(json.dumps(message) + "\n")
        messages.flush()

    async def work(number: int, output: str) -> None:
        for step in (1, 2):
            await asyncio.sleep(WORK_S / 2)
            say(job=number, event="progress", stage="render", message="", fraction=step / 2, step=step, steps=2)
        await asyncio.to_thread(Path(output).write_bytes, os.urandom(20_000))
        say(job=number, event="done", width=256, height=256, fps=24, frames=24, seconds=1.0, versions={})

    say(job=0, event="ready")
    while line := await commands.readline():
        message = json.loads(line)
        if "render" in message:
            task = asyncio.create_task(work(message["job"], message["render"]["output"]))
            works.add(task)
            task.add_done_callback(works.discard)


if __name__ == "__main__":
    asyncio.run(engine()) if sys.argv[1:] == ["engine"] else main()
