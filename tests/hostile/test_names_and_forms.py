"""Text from clients: never part of a path, a command or a line of the log, and never a number that it is not."""

import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import requests

from api.http.forms import RenderForm
from api.http.uploads import MAX_TEXT_BYTES
from api.tasks.store import StoreFailure
from tests.conftest import ROOT, Service
from tests.forms import END, HEADERS, part
from tests.hostile.conftest import START, Answer, exchange, refused

pytestmark = pytest.mark.usefixtures("honest_at_the_end")

EVIL = "evil7d1f"
TEXTS = [
    f"../../../opt/{EVIL}",
    f"/opt/{EVIL}",
    f"..\\..\\{EVIL}.exe",
    f"C:\\{EVIL}:stream",
    f"file:///opt/{EVIL}",
    f"{EVIL}\0.png",
    f"-{EVIL}",
    f"--{EVIL}=x",
    f"; touch /opt/{EVIL}",
    f"$(touch /opt/{EVIL})",
    f"`touch /opt/{EVIL}`",
    f"| tee /opt/{EVIL}",
    f"&& touch /opt/{EVIL} #",
    f"\r\nX-Injected: {EVIL}",
    f"\nINFO {EVIL}",
    f"\x1b[2J\x1b]0;{EVIL}\x07",
    f"\u202e{EVIL}\u202c\u200f",
    f"{EVIL}\ufeff\u0000\ud7ff\U0010ffff",
    f"%s%n%x{EVIL}",
    f"{{{{7*7}}}}{EVIL}${{x}}",
    f"' OR 1=1; DROP TABLE tasks; -- {EVIL}",
    f"<script>{EVIL}</script>",
    f"{EVIL}" + "x" * (MAX_TEXT_BYTES - len(EVIL)),
    "CON",
    "~",
    ".",
    "..",
]
NO_NUMBERS = [
    *("1e400", "-1e400", "nan", "NaN", "inf", "-Infinity", "9" * 4000, "-" + "9" * 4000, "1e" + "9" * 300),
    *("0x18", "0b11", "2_4", "1,5", "1 5", "1.2.3", "--1", "+-1", "1e", "e1", "٢٤", "２４", "²", "½", "Ⅷ"),
    *("null", "None", "true!", "[]", "{}"),
]
FIELDS = [name for name in RenderForm.model_fields if name not in ("image", "audio")]


def post(server: Service, *parts: bytes) -> requests.Response:
    return requests.post(f"{server.url}{START}", data=b"".join(parts) + END, headers=HEADERS, timeout=30)


@pytest.fixture
def touched() -> Iterator[list[str]]:
    """Whatever the server, which runs in this process, opens, moves, makes, removes or starts, and that names EVIL."""
    seen: list[str] = []
    watched = ("open", "os.", "shutil.", "subprocess.", "exec", "import", "pty.", "glob.", "sqlite3.connect")
    active = True

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if active and event.startswith(watched) and EVIL in repr(arguments):
            seen.append(f"{event} {arguments!r}")

    sys.addaudithook(hook)
    yield seen
    active = False
    assert seen == []
    for folder in (Path("/opt"), Path.cwd(), ROOT):
        assert not list(folder.glob(f"*{EVIL}*"))


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """The log, in which no client may begin a line or turn the terminal's colours."""
    with caplog.at_level(logging.DEBUG):
        yield caplog
    for record in caplog.records:
        lines = record.getMessage().splitlines()
        assert not any(line.startswith((f"INFO {EVIL}", "X-Injected")) for line in lines), record
        assert "\x1b" not in record.getMessage()


@pytest.mark.parametrize("field", FIELDS)
def test_texts_in_fields(server: Service, touched: list[str], log: Any, field: str) -> None:
    others = [part(name, b"1") for name in ("image", "audio")] + [part("emotion", b"sad")] * (field != "emotion")
    for text in [*TEXTS, *NO_NUMBERS]:
        error = refused(post(server, *others, part(field, text.encode())), 400, 422)
        assert error.startswith(field), text
    for body in (b"\xff\xfe\x80", b"\xed\xa0\x80", b"\xc0\xaf"):  # no UTF-8
        assert refused(post(server, *others, part(field, body)), 422).startswith(field)
    assert refused(post(server, *others, part(field, b"1", f"{EVIL}.txt"), part(field, b"2")), 422).endswith("twice")


def test_empty_fields(server: Service) -> None:
    """Optional ones then have their default, as browsers send them; what is no picture is refused after that."""
    files = [part("image", b"1"), part("audio", b"1")]
    empty = [part(field, b"") for field in FIELDS if field != "emotion"]
    assert refused(post(server, *files, *empty, part("emotion", b"sad")), 400).startswith("Invalid image file type")
    assert "emotion" in refused(post(server, *files, part("emotion", b"")), 422)
    assert "image is required" in refused(post(server, files[1], part("emotion", b"sad")), 422)


def test_field_names(server: Service, touched: list[str], log: Any) -> None:
    for text in TEXTS:
        name = text.replace("\r", "").replace("\n", "").replace('"', "")
        refused(post(server, part(name, b"1")), 400, 422)
    for name in ("image[]", "image.path", "__class__", "emotion[$ne]", "options", "seed ", "SEED", "constructor"):
        assert f"Unknown form field: {name}" in refused(post(server, part(name, b"1")), 422)


@pytest.mark.parametrize("chosen", [TEXTS[::3], TEXTS[1::3], TEXTS[2::3]], ids=["1", "2", "3"])
def test_file_names(
    server: Service, touched: list[str], log: Any, portrait: Path, speech: Path, chosen: list[str]
) -> None:
    known = {"image", "audio", "result.mp4"}
    for text in chosen[:4]:
        name = text.replace("\r\n", " ").replace("\n", " ").replace('"', "")
        image, audio = part("image", portrait.read_bytes(), name), part("audio", speech.read_bytes(), name)
        answer = post(server, image, audio, part("emotion", b"sad"), part("duration", b"0.2"))
        assert answer.status_code == 200, answer.text
        task = answer.json()["task_id"]
        assert server.wait(task)["status"] == "COMPLETED"
        assert EVIL not in answer.text + str(server.status(task)) + str(server.download(task).headers)
        files = [Path(file) for file in server.files() if task in file]
        assert {file.name for file in files} == {task} | known


def ids(task: str) -> list[str]:
    """As they stand in the address: around a real task, and elsewhere."""
    return [
        *(
            task.upper(),
            task.replace("-", ""),
            f"{task}%00",
            f"%00{task}",
            f"{task}%20",
            f"{{{task}}}",
            f"urn:uuid:{task}",
        ),
        *(f"%2e%2e%2f{task}", f"x%2f..%2f{task}", f"..%2f..%2f{EVIL}", f"..%5c{EVIL}", f"%2fetc%2f{EVIL}"),
        *("%ff%fe", "%ed%a0%80", "%c0%ae%c0%ae", "%00", "%u0000", "%25", "%25s%25n", "%0d%0aX-Injected:%20yes"),
        *(f"%0aINFO%20{EVIL}", "..%2f..%2fdice_talk.db", "x" * 4096, "1", "-1", "null", "*", "..", "."),
        *map(quote, TEXTS),
    ]


def test_task_ids(server: Service, watch: Any, touched: list[str], log: Any) -> None:
    for name in ids(watch.finished):
        for verb in ("status", "download"):
            address = f"/api/v1/synthesis/{name.replace('/', '%2F')}/{verb}".encode()
            answer = exchange(server, b"GET " + address + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            assert refused(answer, 404) in ("Task not found", "Not Found"), name


def test_what_fails_is_logged_in_one_line(server: Service, log: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the database does not answer, the log says for which request."""

    def fail(task_ids: list[str]) -> None:
        raise StoreFailure(f"no answer about {task_ids}")

    with monkeypatch.context() as patched:
        patched.setattr(server.synthesis._store, "snapshots", fail)
        address = f"/api/v1/synthesis/x%0aINFO%20{EVIL}%0d%1b%5b2J/status".encode()
        answer = exchange(server, b"GET " + address + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert isinstance(answer, Answer)
    assert answer.status == 503
    assert any("the database failed" in record.getMessage() for record in log.records)


def test_query_and_headers_change_nothing(server: Service, watch: Any, touched: list[str], log: Any) -> None:
    plain = server.download(watch.finished)
    for text in TEXTS[:20]:
        answer = requests.get(
            f"{server.url}/api/v1/synthesis/{watch.finished}/download",
            params={"filename": text, "path": text, "task_id": text},
            headers={
                name: quote(text)
                for name in ("X-Forwarded-For", "X-Forwarded-Host", "X-Original-URL", "Referer", "If-Range", "Cookie")
            },
            timeout=10,
        )
        assert (answer.status_code, answer.content) == (200, plain.content)
        assert answer.headers["content-disposition"] == 'attachment; filename="result.mp4"'
        assert EVIL not in str(answer.headers)
