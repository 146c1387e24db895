"""A process that denoises with the engine's own: `python -m dice_talk.diffusion.peer RANK COUNT FILE CHECKPOINTS`.

It reads jobs as `dice_talk.worker` does and computes its share of their latents. It exits at the end of its input and
after any error; the other processes notice this, and the engine is restarted.
"""

import json
import logging
import sys
from contextlib import suppress
from pathlib import Path

from dice_talk.child import exit_with_parent
from dice_talk.diffusion.engine import load_on_one_device
from dice_talk.diffusion.peers import READY, Aborted, ProcessGroup
from dice_talk.errors import DiceTalkError
from dice_talk.worker import claim_stdout, decode_job, tuning_of


def main() -> None:
    """Entry point."""
    logging.basicConfig(level=logging.INFO, format="%(name)s: %(message)s")
    exit_with_parent()
    rank, count, rendezvous, checkpoints, *flags = sys.argv[1:]
    with claim_stdout() as messages:
        try:
            engine = load_on_one_device(Path(checkpoints), tuning_of(flags))
        except DiceTalkError as error:
            sys.exit(f"{error}. {error.detail}")
        messages.write(READY.decode())
    group = ProcessGroup(Path(rendezvous), int(rank), int(count))
    group.barrier()
    for line in sys.stdin:
        with suppress(Aborted):
            engine.assist(decode_job(json.loads(line)["render"]), group)


if __name__ == "__main__":
    main()
