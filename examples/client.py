"""Makes a talking-head video with a running server: python examples/client.py PORTRAIT SPEECH [EMOTION]."""

import os
import sys
import time
from pathlib import Path

import requests

SERVER = os.environ.get("DICE_TALK_SERVER", "http://localhost:8000")


def main() -> None:
    portrait, speech = Path(sys.argv[1]), Path(sys.argv[2])
    emotion = sys.argv[3] if len(sys.argv) > 3 else "happy"
    tasks = f"{SERVER}/api/v1/synthesis"

    with portrait.open("rb") as image, speech.open("rb") as audio:
        answer = requests.post(
            f"{tasks}/start",
            files={"image": image, "audio": audio},
            data={"emotion": emotion, "crop": True},
            timeout=60,
        )
    if not answer.ok:
        sys.exit(f"Refused: {answer.json()}")
    task = answer.json()["task_id"]

    while True:
        state = requests.get(f"{tasks}/{task}/status", timeout=10).json()
        print(f"{state['progress']:4.0%}  {state['message']}")
        if state["status"] == "FAILED":
            sys.exit(f"Failed. {state['detail'] or ''}")
        if state["status"] == "COMPLETED":
            break
        time.sleep(1)

    video = requests.get(f"{tasks}/{task}/download", timeout=60)
    video.raise_for_status()
    Path("result.mp4").write_bytes(video.content)
    print("Saved result.mp4")


if __name__ == "__main__":
    main()
