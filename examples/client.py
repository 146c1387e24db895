"""Makes a talking-head video with a running server: python examples/client.py PORTRAIT SPEECH [EMOTION].

DICE_TALK_SERVER and DICE_TALK_API_KEY name another server than http://localhost:8000, and the key that it needs.
"""

import argparse
import sys
from pathlib import Path

from dice_talk.client import Client, ClientError, TaskState


def show(state: TaskState) -> None:
    """One line for each change."""
    print(f"{state.progress:4.0%}  {state.message}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("portrait", type=Path, help="JPEG or PNG")
    parser.add_argument("speech", type=Path, help="WAV or MP3")
    parser.add_argument("emotion", nargs="?", default="happy")
    parser.add_argument("--output", type=Path, default=Path("result.mp4"))
    arguments = parser.parse_args()
    try:
        with Client() as client:
            client.render(arguments.portrait, arguments.speech, arguments.output, arguments.emotion, progress=show)
    except ClientError as error:
        sys.exit(f"{error}. {error.detail or ''}")
    except OSError as error:
        sys.exit(f"{error.filename}: {error.strerror}")
    print(f"Saved {arguments.output}")


if __name__ == "__main__":
    main()
