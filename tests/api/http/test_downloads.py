"""Ranges, conditions and HEAD as RFC 9110 has them, over real HTTP."""

import json
import re
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timedelta
from email.utils import formatdate, parsedate_to_datetime
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from starlette.responses import MalformedRangeHeader

from api.http.downloads import MAX_RANGES, OpenedFile, _range_of
from api.settings import Settings
from api.storage.local import LocalVideo
from tests.api.asgi import Answer, call
from tests.conftest import Service, running
from tests.features.test_documented_api import error_of
from tests.waiting import wait_for

LONG_AGO = formatdate(0, usegmt=True)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("download")
    settings = Settings(data_dir=folder / "data", log_dir=folder / "logs", shutdown_seconds=0.1, workers=1)
    with running(settings, "quick", folder / "gate") as service:
        yield service


@pytest.fixture(scope="module")
def task(service: Service, portrait: Path, speech: Path) -> str:
    task = service.submit(portrait, speech)
    assert service.wait(task)["status"] == "COMPLETED"
    return task


@pytest.fixture(scope="module")
def whole(service: Service, task: str) -> requests.Response:
    return service.download(task)


def parts(answer: requests.Response) -> list[tuple[str, bytes]]:
    """Content-Range and body of each part of a multipart/byteranges answer."""
    kind, _, boundary = answer.headers["content-type"].partition("; boundary=")
    assert kind == "multipart/byteranges"
    *found, rest = answer.content.split(f"--{boundary}".encode())[1:]
    assert rest.strip() == b"--"
    assert len(answer.content) == int(answer.headers["content-length"])
    split = []
    for part in found:
        head, _, body = part.partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().strip().split("\r\n"))
        assert headers["Content-Type"] == "video/mp4"
        split.append((headers["Content-Range"], body.removesuffix(b"\r\n")))
    return split


@pytest.mark.parametrize("unit", ["lines=0-1", "items=x", "seconds = 1-2", "x=1_0-2", "none=1-2"])
def test_other_units_are_ignored(service: Service, task: str, whole: requests.Response, unit: str) -> None:
    answer = service.download(task, Range=unit)
    assert (answer.status_code, answer.content) == (200, whole.content)


@pytest.mark.parametrize(
    ("header", "first", "behind"),
    [
        ("bytes=10-19", 10, 20),
        ("bytes=0-0", 0, 1),
        ("bytes=5-", 5, None),
        ("bytes=-7", -7, None),
        ("bytes=-99999999", 0, None),
        ("bytes=3-99999999999999999999999999", 3, None),
        ("Bytes=10-19", 10, 20),
        ("bytes=,10-19,", 10, 20),
        ("bytes= 10-19\t", 10, 20),
        ("bytes=99999999-,10-19", 10, 20),
        ("bytes=-0,10-19", 10, 20),
        ("bytes=10-14,15-19", 10, 20),
        ("bytes=10-19,12-13", 10, 20),
    ],
)
def test_one_range(
    service: Service, task: str, whole: requests.Response, header: str, first: int, behind: int | None
) -> None:
    answer = service.download(task, Range=header)
    assert (answer.status_code, answer.content) == (206, whole.content[first:behind])
    size = len(whole.content)
    start, end = first % size, behind or size
    assert answer.headers["content-range"] == f"bytes {start}-{end - 1}/{size}"


def test_of_several_ranges_those_that_are_there_come(service: Service, task: str, whole: requests.Response) -> None:
    size = len(whole.content)
    answer = service.download(task, Range="bytes=0-1, 99999999-,5-9 ,-3,99999998-99999999")
    assert answer.status_code == 206
    assert parts(answer) == [
        (f"bytes 0-1/{size}", whole.content[:2]),
        (f"bytes 5-9/{size}", whole.content[5:10]),
        (f"bytes {size - 3}-{size - 1}/{size}", whole.content[-3:]),
    ]


@pytest.mark.parametrize(
    "header",
    [
        "bytes=1_0-2_0",
        "bytes=1-2_0",
        "bytes=+1-2",
        "bytes=1-+2",
        "bytes=--1",
        "bytes=-1-",
        "bytes=1-2-3",
        "bytes=1 - 2",
        "bytes=1.0-2",
        "bytes=0x1-0x2",
        "bytes=5-1",
        "bytes=-",
        "bytes=",
        "bytes=,",
        "bytes",
        "bytes=a-b",
        "bytes=0-1;2-3",
        "bytes=0-1,x",
        "bytes=\xb2-\xb3",
        "bytes=1-\xa02",
        b"bytes=\xd9\xa1-\xd9\xa2",  # Arabic digits in UTF-8
    ],
)
def test_malformed_ranges_are_refused(service: Service, task: str, header: Any) -> None:
    raw = header if isinstance(header, bytes) else header.encode("latin-1")
    answer = service.download(task, Range=raw)
    assert (answer.status_code, error_of(answer)) == (400, "Malformed range header.")
    assert answer.json()["detail"].startswith("Send bytes=FIRST-LAST")


@pytest.mark.parametrize("header", ["bytes=99999999-", "bytes=-0", "bytes=-0,99999999-99999999", "bytes=-00"])
def test_ranges_beyond_the_file(service: Service, task: str, whole: requests.Response, header: str) -> None:
    answer = service.download(task, Range=header)
    assert (answer.status_code, error_of(answer)) == (416, "Requested Range Not Satisfiable")
    assert answer.headers["content-range"] == f"bytes */{len(whole.content)}"


def test_conditions(service: Service, task: str, whole: requests.Response) -> None:
    """With ranges, and for HEAD; all of them are in test_preconditions.py."""
    etag, modified = whole.headers["etag"], whole.headers["last-modified"]
    cases: list[tuple[dict[str, str], int]] = [
        ({"If-Match": etag}, 200),
        ({"If-Match": '"x"'}, 412),
        ({"If-None-Match": etag}, 304),
        ({"If-Modified-Since": modified}, 304),
        ({"If-Match": '"x"', "Range": "bytes=0-1"}, 412),
        ({"If-Match": etag, "Range": "bytes=0-1"}, 206),
        ({"If-None-Match": etag, "Range": "bytes=0-1"}, 304),
        ({"If-Range": etag, "Range": "bytes=0-1"}, 206),
        ({"If-Range": modified, "Range": "bytes=0-1"}, 206),
        ({"If-Range": '"x"', "Range": "bytes=0-1"}, 200),
        ({"If-Range": f"W/{etag}", "Range": "bytes=0-1"}, 200),
        ({"If-Range": LONG_AGO, "Range": "bytes=0-1"}, 200),
        ({"If-Range": '"x"', "Range": "bytes=99999999-"}, 200),
        ({"If-Match": '"x"', "Range": "bytes=99999999-"}, 412),
    ]
    for headers, status in cases:
        answer = service.download(task, **headers)
        assert answer.status_code == status, headers
        assert status != 412 or error_of(answer)
        assert status != 304 or (answer.content, answer.headers["etag"]) == (b"", etag)
        head = requests.head(answer.url, headers=headers, timeout=60)
        assert head.status_code == (200 if status == 206 else status), headers


def test_conditions_on_a_task_that_is_not_there(service: Service) -> None:
    assert service.download("x", **{"If-Match": '"x"'}).status_code == 404


def raw_head(service: Service, path: str, method: str = "HEAD", **headers: str) -> tuple[int, dict[str, str], bytes]:
    """As it is on the wire: everything up to the end of the connection."""
    address = urlsplit(service.url)
    with closing(HTTPConnection(str(address.hostname), address.port, timeout=20)) as connection:
        connection.connect()
        lines = [f"{method} {path} HTTP/1.1", "Host: x", "Connection: close"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        connection.sock.sendall("\r\n".join([*lines, "", ""]).encode())
        answer = b"".join(iter(lambda: connection.sock.recv(65536), b""))
    head, _, body = answer.partition(b"\r\n\r\n")
    status, *rest = head.decode("latin-1").split("\r\n")
    return int(status.split()[1]), {name.lower(): value for name, value in (line.split(": ", 1) for line in rest)}, body


PAGES = ["/", "/docs", "/redoc", "/openapi.json", "/web/style.css", "/static-offline-docs/swagger-ui.css", "/nothing"]
CALLS = ["/api/health", "/api/live", "/api/ready", "/metrics", "/api/v1/synthesis", "/api/v1/synthesis?limit=0"]
OF_A_TASK = ["status", "download", "poster", "receipt", "events"]


MEASURED = {
    "image": {"sha256": "0", "bytes": 1, "width": 1, "height": 1},
    "audio": {"sha256": "0", "bytes": 1, "seconds": 1.0},
    "video": {"sha256": "0", "bytes": 1},
}


def test_head_wherever_get(service: Service, task: str) -> None:
    files = re.findall(r'"/?(web/[^"]+)"', requests.get(service.url, timeout=60).text)
    paths = [*PAGES, *CALLS, *(f"/{file}" for file in files)]
    paths += [f"/api/v1/synthesis/{one}/{what}" for one in (task, "x") for what in OF_A_TASK]
    assert service.app
    service.app.state.services.files.keep(task, "receipt", json.dumps(MEASURED).encode())  # else it grows meanwhile
    for path in paths:
        status, headers, body = raw_head(service, path)
        expected, expected_headers, content = raw_head(service, path, "GET")
        assert (status, body) == (expected, b""), path
        assert content, path
        changing = {"date", "x-request-id"} | ({"content-length"} if path == "/metrics" else set())  # which grows
        for name in changing:
            headers.pop(name, None)
            expected_headers.pop(name, None)
        assert headers == expected_headers, path


def test_head_where_there_is_no_get(service: Service, task: str) -> None:
    for path in ("/api/v1/synthesis/start", f"/api/v1/synthesis/{task}/cancel", f"/api/v1/synthesis/{task}"):
        answer = requests.head(service.url + path, timeout=60)
        assert answer.status_code == 405
        assert "GET" not in answer.headers["allow"]
    wrong = requests.post(f"{service.url}/api/health", timeout=60)
    assert (wrong.status_code, wrong.headers["allow"]) == (405, "GET, HEAD")


def test_head_of_a_task_in_work(serve: Any, portrait: Path, speech: Path) -> None:
    """A stream of events would never end."""
    service = serve("gated")
    task = service.submit(portrait, speech)
    service.wait(task, "PROCESSING")
    status, headers, body = raw_head(service, f"/api/v1/synthesis/{task}/events")
    assert (status, headers["content-type"].partition(";")[0], body) == (200, "text/event-stream", b"")
    wait_for(lambda: service.synthesis._events._feeds[task].followers == 0)
    assert requests.head(f"{service.url}/api/v1/synthesis/{task}/download", timeout=60).status_code == 400


def test_head_ignores_ranges(service: Service, task: str, whole: requests.Response) -> None:
    for header in ("bytes=0-1", "bytes=99999999-", "nonsense"):
        answer = requests.head(whole.url, headers={"Range": header}, timeout=60)
        assert (answer.status_code, answer.headers["content-length"]) == (200, str(len(whole.content)))
        assert "content-range" not in answer.headers


def test_the_pages_files_take_conditions_and_ranges_too(service: Service) -> None:
    url = f"{service.url}/web/style.css"
    whole = requests.get(url, timeout=60)
    for headers, status in (
        ({"If-None-Match": whole.headers["etag"]}, 304),
        ({"If-Match": '"x"'}, 412),
        ({"Range": "lines=0-1"}, 200),
        ({"Range": "bytes=1_0-2_0"}, 400),
        ({"Range": "bytes=0-1,99999999-"}, 206),
    ):
        assert requests.get(url, headers=headers, timeout=60).status_code == status, headers


def test_times_are_sane(whole: requests.Response) -> None:
    """uvicorn renews `Date` once a second."""
    made, sent = (parsedate_to_datetime(whole.headers[name]) for name in ("last-modified", "date"))
    assert made <= sent + timedelta(seconds=1)


@pytest.mark.parametrize(
    ("part", "size", "found"),
    [
        ("0-0", 10, (0, 1)),
        ("0-9", 10, (0, 10)),
        ("0-99", 10, (0, 10)),
        ("9-", 10, (9, 10)),
        ("10-", 10, (10, 10)),
        ("10-12", 10, (10, 10)),
        ("-1", 10, (9, 10)),
        ("-10", 10, (0, 10)),
        ("-11", 10, (0, 10)),
        ("-0", 10, (10, 10)),
        ("0-", 0, (0, 0)),
        ("-5", 0, (0, 0)),
        ("007-008", 10, (7, 9)),
    ],
)
def test_a_range_of_a_file(part: str, size: int, found: tuple[int, int]) -> None:
    assert _range_of(part, size) == found


@pytest.mark.parametrize(
    "part", ["-", "", "5-4", "a-b", "1-2-3", "+1-2", "1_0-", " 1-2", "1-2 ", "1-" + "9" * 5000, "-²"]
)
def test_what_is_no_range(part: str) -> None:
    with pytest.raises(MalformedRangeHeader):
        _range_of(part, 10)


def send(folder: Path, **headers: str) -> Answer:
    """What is sent of an open file that holds 0123456789; it is removed before."""
    path = folder / "video"
    path.write_bytes(b"0123456789")
    with path.open("rb") as file:
        path.unlink()
        modified = datetime(2030, 1, 1, 12, 0, 0, 999_999)
        response = OpenedFile(LocalVideo(file), media_type="video/mp4", filename="a.mp4", name="a", modified=modified)
        answer = call(response, "GET", "/", {name.replace("_", "-"): value for name, value in headers.items()})
        assert file.closed
    return answer


def test_an_open_file_is_sent_though_it_was_removed(tmp_path: Path) -> None:
    answer = send(tmp_path)
    assert (answer.status, answer.body) == (200, b"0123456789")
    assert answer.headers["last-modified"] == "Tue, 01 Jan 2030 12:00:00 GMT"
    assert answer.headers["content-disposition"] == 'attachment; filename="a.mp4"'
    again = send(tmp_path, range="bytes=2-3", if_range=answer.headers["etag"])
    assert (again.status, again.body, again.headers["content-range"]) == (206, b"23", "bytes 2-3/10")
    assert again.headers["etag"] == answer.headers["etag"]


@pytest.mark.parametrize(("count", "status"), [(MAX_RANGES, 206), (MAX_RANGES + 1, 200)])
def test_very_many_ranges_are_ignored(tmp_path: Path, count: int, status: int) -> None:
    ranges = ",".join(["0-0"] * count)
    assert send(tmp_path, range=f"bytes={ranges}").status == status


def test_a_file_that_is_not_sent_can_be_closed(tmp_path: Path) -> None:
    (tmp_path / "video").write_bytes(b"x")
    file = (tmp_path / "video").open("rb")
    OpenedFile(
        LocalVideo(file), media_type="video/mp4", filename="a.mp4", name="a", modified=datetime(2030, 1, 1)
    ).close()
    assert file.closed


def test_the_tag_names_the_task_and_the_size(tmp_path: Path) -> None:
    tags = set()
    for name, data in (("a", b"1"), ("b", b"1"), ("a", b"12"), ("a", b"2")):
        (tmp_path / "video").write_bytes(data)
        file = (tmp_path / "video").open("rb")
        response = OpenedFile(
            LocalVideo(file), media_type="video/mp4", filename="x", name=name, modified=datetime(2030, 1, 1)
        )
        tags.add(response.headers["etag"])
        response.close()
    assert len(tags) == 3
