"""Makes a talking-head video with nothing but requests: python examples/plain_requests.py PORTRAIT SPEECH [EMOTION]."""

import argparse
import os
import sys
import time
from pathlib import Path

import requests

SERVER = os.environ.get("DICE_TALK_SERVER", "http://localhost:8000")
TASKS = f"{SERVER}/api/v1/synthesis"
KEY = os.environ.get("DICE_TALK_API_KEY")
HEADERS = {"Authorization": f"Bearer {KEY}"} if KEY else {}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("portrait", type=Path, help="JPEG or PNG")
    parser.add_argument("speech", type=Path, help="WAV or MP3")
    parser.add_argument("emotion", nargs="?", default="happy")
    parser.add_argument("--output", type=Path, default=Path("result.mp4"))
    arguments = parser.parse_args()
    try:
        task = start(arguments.portrait, arguments.speech, arguments.emotion)
        wait(task)
        arguments.output.write_bytes(
            checked(requests.get(f"{TASKS}/{task}/download", headers=HEADERS, timeout=60)).content
        )
    except requests.ConnectionError:
        sys.exit(f"No server answers at {SERVER}. Start it with ./start_server.sh, or set DICE_TALK_SERVER.")
    except OSError as error:
        sys.exit(f"{error.filename}: {error.strerror}")
    print(f"Saved {arguments.output}")


def start(portrait: Path, speech: Path, emotion: str) -> str:
    """Submits a task and gives its id."""
    with portrait.open("rb") as image, speech.open("rb") as audio:
        files = {"image": image, "audio": audio}
        answer = requests.post(f"{TASKS}/start", files=files, data={"emotion": emotion}, headers=HEADERS, timeout=60)
    return str(checked(answer).json()["task_id"])


def wait(task: str) -> None:
    """Shows how the task stands until it is completed."""
    while True:
        state = checked(requests.get(f"{TASKS}/{task}/status", headers=HEADERS, timeout=10)).json()
        print(f"{state['progress']:4.0%}  {state['message']}")
        if state["status"] == "FAILED":
            sys.exit(f"Failed. {state['detail'] or ''}")
        if state["status"] == "COMPLETED":
            return
        time.sleep(1)


def checked(answer: requests.Response) -> requests.Response:
    """Ends the program with the server's words where there was an error."""
    if not answer.ok:
        error = answer.json()
        sys.exit(f"{error['error']}. {error.get('detail', '')}")
    return answer


if __name__ == "__main__":
    main()
