"""The service below a sub-path and behind proxies, as seen by one that removes the prefix and one that does not."""

import asyncio
import logging
import re
from collections.abc import Iterator
from ipaddress import ip_address, ip_network
from typing import Any

import pytest
import requests
from pydantic import ValidationError
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from api.http.proxies import ClientAddress, is_below, mapped
from api.http.request_log import RequestLog
from api.metrics import Metrics
from api.settings import OWN_PATHS, Settings
from tests.api.asgi import call
from tests.conftest import Service, running

LOGGER = "api.http.request_log"

PREFIXES = pytest.mark.parametrize("sent", ["/talk", ""], ids=["kept", "removed"])


PATHS = ("/", "/web/app.js", "/docs", "/redoc", "/openapi.json", "/static-offline-docs/swagger-ui.css", "/metrics")


@pytest.fixture(scope="module")
def below(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service below /talk."""
    folder = tmp_path_factory.mktemp("below")
    settings = Settings(data_dir=folder / "data", log_dir=folder / "logs", root_path="/talk/", workers=1)
    with running(settings, "quick", folder / "gate") as service:
        yield service


@PREFIXES
def test_everything_is_found_below_the_path(below: Service, sent: str) -> None:
    url = below.url + sent
    for path in (*PATHS, "/api/health"):
        answer = requests.get(f"{url}{path}", timeout=30)
        assert answer.status_code == 200, path
        assert ("'unsafe-inline'" in answer.headers["content-security-policy"]) == (path in ("/docs", "/redoc"))


@PREFIXES
def test_what_the_service_says_of_itself_has_the_path(below: Service, sent: str) -> None:
    url = below.url + sent
    assert requests.get(f"{url}/openapi.json", timeout=30).json()["servers"] == [{"url": "/talk"}]
    for page in ("docs", "redoc"):
        named = re.findall(
            r"(?:src|href|url|spec-url)\s*[=:]\s*[\"']([^\"']+)", requests.get(f"{url}/{page}", timeout=30).text
        )
        assert "/talk/openapi.json" in named
        assert all(address.startswith(("/talk/", "data:")) for address in named), named
    moved = requests.get(f"{url}/api/health/", timeout=30, allow_redirects=False)
    assert moved.status_code == 307
    assert moved.headers["location"].removeprefix(url.removesuffix(sent)) == "/talk/api/health"


def test_the_bare_path_leads_to_the_page(below: Service) -> None:
    answer = requests.get(f"{below.url}/talk", timeout=30)
    assert (answer.status_code, answer.url.rpartition("/talk")[2]) == (200, "/")


def test_a_path_that_only_begins_alike_is_another(below: Service) -> None:
    assert requests.get(f"{below.url}/talkative/api/health", timeout=30).status_code == 404


@pytest.mark.parametrize(
    ("path", "below"), [("/talk", True), ("/talk/", True), ("/talk/x", True), ("/talkative", False)]
)
def test_what_is_below_a_path(path: str, below: bool) -> None:
    assert is_below(path, "/talk") == below


def test_no_path_below_a_default_service(real_service: Service) -> None:
    assert requests.get(f"{real_service.url}/talk/", timeout=30).status_code == 404
    assert "servers" not in requests.get(f"{real_service.url}/openapi.json", timeout=30).json()


def test_own_paths_are_complete(real_service: Service) -> None:
    app = real_service.app
    assert app
    paths = [*app.openapi()["paths"], *filter(None, (getattr(route, "path", None) for route in app.routes))]
    assert {path.split("/")[1] for path in paths} == set(OWN_PATHS)


@pytest.mark.parametrize(
    "path",
    ["talk", "//", "/talk//", "/a/../b", "/..", "/ta lk", "/ä", "/talk?x", "/%74alk", "/api", "/docs/x", "https://x/y"],
)
def test_paths_that_proxies_may_read_differently_are_refused(path: str) -> None:
    with pytest.raises(ValidationError, match="such as /talk"):
        Settings(root_path=path)


@pytest.mark.parametrize("path", ["", "/", "/talk", "/talk/", "/a/b-c/d.e_~1", "/apis"])
def test_other_paths_are_taken(path: str) -> None:
    assert Settings(root_path=path).root_path == path.removesuffix("/")


@pytest.mark.parametrize("proxies", ["*", "proxy.example.org", "10.1.2.3/8", "127.0.0.1:80", "127.0.0.1 10.0.0.1"])
def test_only_addresses_and_networks_are_trusted(proxies: str) -> None:
    with pytest.raises(ValidationError):
        Settings(trusted_proxies=proxies)


def seen(caplog: pytest.LogCaptureFixture, trusted: str, *forwarded: str) -> list[str]:
    """The clients in the log's lines of requests from 127.0.0.1 with those X-Forwarded-For."""
    caplog.clear()
    caplog.set_level(logging.INFO, LOGGER)
    inside = RequestLog(PlainTextResponse("fine"), Metrics(lambda: []))
    app = ClientAddress(inside, Settings(trusted_proxies=trusted).proxies)
    for value in forwarded:
        headers = {"x-forwarded-for": value, "x-forwarded-proto": "https"}
        assert call(app, "GET", "/", headers, client=("127.0.0.1", 4711)).status == 200
    return [str(record.__dict__["fields"]["client"]) for record in caplog.records if record.name == LOGGER]


def test_nobody_is_trusted_by_default(caplog: pytest.LogCaptureFixture) -> None:
    assert seen(caplog, "", "203.0.113.7") == ["127.0.0.1"]


def test_others_than_the_trusted_are_not_believed(caplog: pytest.LogCaptureFixture) -> None:
    assert seen(caplog, "10.1.0.0/16, 127.0.0.2", "203.0.113.7") == ["127.0.0.1"]


FORWARDED = {
    "203.0.113.7": "203.0.113.7",
    "2001:db8::7": "2001:db8::7",
    "203.0.113.7:4711": "203.0.113.7",
    "[2001:db8::7]:4711": "2001:db8::7",
    "198.51.100.1, 203.0.113.7": "203.0.113.7",  # the first one is what the client itself sent
    "203.0.113.7, 10.1.0.9": "203.0.113.7",  # two proxies in a row
    "evil: 200, 1.0 ms [task_id=x], 10.1.0.9": "127.0.0.1",
    "fe80::1%x: 200 [task_id=x]": "127.0.0.1",
    "unknown": "127.0.0.1",
    "": "127.0.0.1",
    "203.0.113.7:" + "9" * 5000: "127.0.0.1",
}


def test_a_trusted_proxy_names_the_client(caplog: pytest.LogCaptureFixture) -> None:
    found = seen(caplog, "127.0.0.1, 10.1.0.0/16", *FORWARDED)
    assert dict(zip(FORWARDED, found, strict=True)) == FORWARDED


def scheme_of(peer: str) -> str:
    """What an app behind a proxy at 10.1.0.9 takes a request's scheme for."""
    found = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        found.append(scope["scheme"])

    async def unused(*_: Any) -> Any: ...

    scope = {"type": "http", "scheme": "http", "client": (peer, 1), "headers": [(b"x-forwarded-proto", b"https")]}
    asyncio.run(ClientAddress(app, [ip_network("10.1.0.0/16")])(scope, unused, unused))
    return str(found[0])


def test_the_scheme_is_the_proxys() -> None:
    assert {peer: scheme_of(peer) for peer in ("10.1.0.9", "::ffff:10.1.0.9", "10.2.0.9")} == {
        "10.1.0.9": "https",
        "::ffff:10.1.0.9": "https",
        "10.2.0.9": "http",
    }


@pytest.mark.parametrize(("trusted", "warnings"), [("", 1), ("10.1.0.0/16", 1), ("127.0.0.1", 0)])
def test_a_proxy_that_is_not_trusted_is_warned_of_once(
    caplog: pytest.LogCaptureFixture, trusted: str, warnings: int
) -> None:
    seen(caplog, trusted, "203.0.113.7", "203.0.113.8")
    said = [record.getMessage() for record in caplog.records if "trusted_proxies" in record.getMessage()]
    assert len(said) == warnings
    assert all(line.startswith("127.0.0.1 sends X-Forwarded-For") and "docs/deploy.md" in line for line in said)


def test_who_forwards_nothing_is_not_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    app = ClientAddress(PlainTextResponse("fine"), [])
    assert call(app, "GET", "/", client=("127.0.0.1", 4711)).status == 200
    assert "trusted_proxies" not in caplog.text


def test_an_ipv4_proxy_is_known_on_a_socket_for_both() -> None:
    assert ip_address("::ffff:10.1.2.3") in mapped(ip_network("10.1.0.0/16"))
    assert ip_address("::ffff:10.2.2.3") not in mapped(ip_network("10.1.0.0/16"))
