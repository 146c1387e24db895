"""What has to work through a proxy with TLS, below /talk/."""

import json
import logging
import os
import re
import subprocess
import sys
import time
import wave
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import pytest
import requests
from PIL import Image
from requests.adapters import HTTPAdapter

from dice_talk.client import Client
from dice_talk.video import probe
from tests.conftest import ROOT
from tests.deploy.conftest import Front
from tests.waiting import wait_for

LOGGER = "api.http.request_log"

ELSEWHERE = "127.0.0.5"
"""A client's address that is not the proxy's own: all of 127.0.0.0/8 is this machine."""


class From(HTTPAdapter):
    """Connects from that address."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, source_address=(ELSEWHERE, 0), **kwargs)


@pytest.fixture
def web(front: Front) -> Iterator[requests.Session]:
    with requests.Session() as session:
        session.trust_env, session.verify = False, str(front.certificate)
        session.mount("https://", From())
        yield session


def start(web: requests.Session, front: Front, image: Any, audio: Any, **fields: Any) -> requests.Response:
    files = {"image": image, "audio": audio}
    data = {"emotion": "happy", "duration": 2, **fields}
    return web.post(f"{front.url}/api/v1/synthesis/start", files=files, data=data, timeout=120)


def finished(web: requests.Session, front: Front, task_id: str) -> str:
    """The task's address, once its video is there."""
    address = f"{front.url}/api/v1/synthesis/{task_id}"
    state = wait_for(lambda: ended if (ended := web.get(f"{address}/status").json())["progress"] == 1 else None)
    assert state["status"] == "COMPLETED", state
    return address


def test_pages_and_addresses_of_the_document(front: Front, web: requests.Session) -> None:
    schema = web.get(f"{front.url}/openapi.json").json()
    assert schema["servers"] == [{"url": "/talk"}]
    assert web.get(f"{front.url}/docs/").url == f"{front.url}/docs"  # by a redirect
    for page in ("", "/", "/docs", "/redoc"):
        answer = web.get(f"{front.url}{page}")
        assert answer.status_code == 200
        for name in re.findall(r"(?:src|href)=[\"']([^\"'#:]+)[\"']", answer.text):
            found = web.get(urljoin(answer.url, name))
            assert (found.status_code, found.url.startswith(f"{front.url}/")) == (200, True), name


def test_the_bare_path_leads_to_the_page_by_a_path_alone(front: Front) -> None:
    answer = requests.get(front.url, allow_redirects=False, verify=str(front.certificate), timeout=30)
    assert (answer.status_code // 100, answer.headers["location"]) == (3, "/talk/")


def test_plain_http_leads_to_tls(front: Front) -> None:
    answer = requests.get(f"{front.plain}/docs", allow_redirects=False, timeout=30)
    assert answer.status_code in (301, 308)
    assert re.fullmatch(r"https://localhost(:\d+)?/talk/docs", answer.headers["location"])


def large_files(portrait: Path) -> tuple[bytes, bytes]:
    """Files of 6 and 49 MB that are what they say."""
    noise = Image.frombytes("RGB", (1600, 1600), os.urandom(1600 * 1600 * 3))
    with Image.open(portrait) as face:
        noise.paste(face.resize((700, 700)))
    image, audio = BytesIO(), BytesIO()
    noise.save(image, "PNG")
    with wave.open(audio, "wb") as out:
        out.setparams((2, 2, 48000, 0, "NONE", ""))
        out.writeframes(os.urandom(49_000_000))
    return image.getvalue(), audio.getvalue()


def test_an_upload_of_55_mb(front: Front, web: requests.Session, portrait: Path) -> None:
    image, audio = large_files(portrait)
    assert len(image) + len(audio) > 55_000_000
    answer = start(web, front, image, audio, duration=0.5)
    assert answer.status_code == 200, answer.text
    finished(web, front, answer.json()["task_id"])


def test_what_is_too_large_is_refused_in_the_services_words(
    front: Front, web: requests.Session, portrait: Path
) -> None:
    if front.program == "caddy":
        pytest.skip("Caddy closes the connection on clients that are still sending, as docs/deploy.md says")
    answer = start(web, front, portrait.read_bytes(), bytes(70_000_000))
    assert (answer.status_code, answer.json()["error"]) == (413, "The upload is too large")


def test_events_arrive_one_by_one(front: Front, web: requests.Session, portrait: Path, speech: Path) -> None:
    task_id = start(web, front, portrait.read_bytes(), speech.read_bytes(), duration=8).json()["task_id"]
    address = f"{front.url}/api/v1/synthesis/{task_id}/events"
    with web.get(address, stream=True, timeout=120) as stream:
        lines = (line for line in stream.iter_lines(chunk_size=1) if line.startswith(b"data: "))
        events = [(time.monotonic(), json.loads(line[6:])) for line in lines]
    first_done = next(when for when, state in events if state["status"] == "COMPLETED")
    early = [when for when, state in events if state["status"] == "PROCESSING" and when < first_done - 0.2]
    assert len(early) >= 3
    assert early[-1] - early[0] > 0.3  # what a proxy had held back would come at once


def test_ranges_posters_and_receipts(front: Front, web: requests.Session, portrait: Path, speech: Path) -> None:
    created = start(web, front, portrait.read_bytes(), speech.read_bytes())
    address = finished(web, front, created.json()["task_id"])
    whole = web.get(f"{address}/download").content
    part = web.get(f"{address}/download", headers={"Range": "bytes=100-299"})
    assert (part.status_code, part.content) == (206, whole[100:300])
    assert part.headers["content-range"] == f"bytes 100-299/{len(whole)}"
    assert web.get(f"{address}/poster").headers["content-type"] == "image/jpeg"
    assert web.get(f"{address}/receipt").json()["task_id"] == created.json()["task_id"]


def test_the_log_names_clients_whatever_they_claim(
    front: Front, web: requests.Session, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, LOGGER):
        web.get(f"{front.url}/api/live?who", headers={"X-Forwarded-For": "203.0.113.7", "X-Forwarded-Proto": "ftp"})
        line = wait_for(
            lambda: next((record for record in caplog.records if record.name == "api.http.request_log"), None)
        )
    fields = line.__dict__["fields"]
    assert (fields["client"], fields["path"]) == (ELSEWHERE, "/talk/api/live")


def test_the_client_and_the_command_line(
    front: Front, portrait: Path, speech: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(front.certificate))
    monkeypatch.setenv("DICE_TALK_SERVER", f"{front.url}/")
    with Client() as client:
        client.render(portrait, speech, tmp_path / "client.mp4", emotion="sad", duration=0.5)
    assert probe(tmp_path / "client.mp4").frames == 12
    files = [str(file) for file in (portrait, speech, "-o", tmp_path / "typed.mp4")]
    command = [sys.executable, "-m", "dice_talk", "submit", *files]
    done = subprocess.run(
        [*command, "-e", "happy", "--duration", "0.5"], cwd=ROOT, capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 0, done.stderr
    assert probe(tmp_path / "typed.mp4").frames == 12
