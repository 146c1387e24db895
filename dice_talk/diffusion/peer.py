"""A process that helps the diffusion engine's: `python -m dice_talk.diffusion.peer RANK COUNT FILE CHECKPOINTS`.

Reads jobs as `dice_talk.worker` does, and makes its share of their latents. Ends with its input, and with any error:
the others notice, and the engine is started anew.
"""

import json
import logging
import sys
from contextlib import suppress
from pathlib import Path

from dice_talk.child import end_with_parent
from dice_talk.diffusion.engine import load_alone
from dice_talk.diffusion.peers import COMPILE, READY, Group, Left
from dice_talk.worker import claim_stdout, decode_job


def main() -> None:
    """Entry point."""
    logging.basicConfig(level=logging.INFO, format="%(name)s: %(message)s")
    end_with_parent()
    rank, count, meeting_place, checkpoints, *flags = sys.argv[1:]
    with claim_stdout() as messages:
        engine = load_alone(Path(checkpoints), flags == [COMPILE])
        messages.write(READY.decode())
    group = Group(Path(meeting_place), int(rank), int(count))
    group.meet()
    for line in sys.stdin:
        with suppress(Left):
            engine.assist(decode_job(json.loads(line)["render"]), group)


if __name__ == "__main__":
    main()
