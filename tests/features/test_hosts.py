"""What the Host header can and cannot do, over real HTTP."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

from api.settings import Settings
from tests.conftest import ROOT, Service
from tests.features.test_documented_api import error_of

EVIL = {"Host": "evil.example"}


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
@pytest.mark.parametrize("path", ["/api/v1/synthesis/", "/api/health/", "/docs/", "/web", "/api/v1/synthesis/start/"])
def test_redirects_name_no_host(real_service: Service, path: str, method: str) -> None:
    answer = requests.request(method, real_service.url + path, headers=EVIL, allow_redirects=False, timeout=60)
    assert "evil" not in answer.text + str(answer.headers)
    assert answer.status_code == 307
    assert answer.headers["location"] == (path + "/" if path == "/web" else path.rstrip("/"))


def test_a_redirect_leads_to_the_call(real_service: Service) -> None:
    answer = requests.get(f"{real_service.url}/api/v1/synthesis/?limit=3", timeout=60)
    assert (answer.status_code, [one.status_code for one in answer.history]) == (200, [307])
    assert answer.url == f"{real_service.url}/api/v1/synthesis?limit=3"


@pytest.mark.parametrize("host", ["[evil", "evil:x", "a@evil.example", "evil/..", "", "[::1]:80"])
def test_redirects_with_a_host_that_is_none(real_service: Service, host: str) -> None:
    url = f"{real_service.url}/api/v1/synthesis/"
    answer = requests.get(url, headers={"Host": host}, allow_redirects=False, timeout=60)
    assert (answer.status_code, answer.headers["location"]) == (307, "/api/v1/synthesis")


@pytest.mark.parametrize("path", ["//evil.example/", "//evil.example/docs/", "/%2fevil.example/", "/\\evil.example/"])
def test_no_redirect_leads_elsewhere(real_service: Service, path: str) -> None:
    prepared = requests.Request("GET", real_service.url).prepare()
    prepared.url = real_service.url + path
    answer = requests.Session().send(prepared, allow_redirects=False, timeout=60)
    target = urlsplit(answer.headers.get("location", ""))
    assert (target.scheme, target.netloc) == ("", "")


@pytest.mark.parametrize("path", ["/", "/docs", "/redoc", "/openapi.json", "/api/health", "/nothing", "/metrics"])
def test_no_answer_repeats_the_host(real_service: Service, path: str) -> None:
    forwarded = {"X-Forwarded-Host": "evil.example", "Forwarded": "host=evil.example"}
    answer = requests.get(real_service.url + path, headers=EVIL | forwarded, timeout=60)
    assert "evil" not in answer.text + str(answer.headers)


def test_allowed_hosts(serve: Any, portrait: Path, speech: Path) -> None:
    service = serve(allowed_hosts="example.org, *.example.com, [::1], 127.0.0.1")
    allowed = ["example.org", "EXAMPLE.org:8000", "a.example.com", "a.b.example.com", "[::1]:8000", "127.0.0.1"]
    for host in allowed:
        assert requests.get(f"{service.url}/api/health", headers={"Host": host}, timeout=60).ok, host
    for host in ("evil.example", "example.org.evil.example", "example.com", "evilexample.com", "localhost", "x y", ""):
        for path in ("/", "/api/health", "/api/v1/synthesis", "/docs/", "/web/style.css", "/nothing"):
            answer = requests.get(service.url + path, headers={"Host": host}, allow_redirects=False, timeout=60)
            assert (answer.status_code, error_of(answer)) == (400, "Invalid host header"), (host, path)
            assert "allowed_hosts" in answer.json()["detail"]
            assert host == "" or host not in answer.text
            assert answer.headers["x-content-type-options"] == "nosniff"
    files = {"image": portrait.read_bytes(), "audio": bytes(2_000_000)}
    refused = requests.post(f"{service.url}/api/v1/synthesis/start", files=files, headers=EVIL, timeout=60)
    assert (refused.status_code, error_of(refused)) == (400, "Invalid host header")
    assert service.files() == []


def test_no_www_is_added(serve: Any) -> None:
    service = serve(allowed_hosts="www.example.org")
    answer = requests.get(f"{service.url}/docs", headers={"Host": "example.org"}, allow_redirects=False, timeout=60)
    assert (answer.status_code, error_of(answer)) == (400, "Invalid host header")


@pytest.mark.parametrize("hosts", ["", "*", "example.org, *"])
def test_by_default_any_host_will_do(serve: Any, hosts: str) -> None:
    assert requests.get(f"{serve(allowed_hosts=hosts).url}/api/health", headers=EVIL, timeout=60).ok


@pytest.mark.parametrize(
    "hosts", ["https://example.org", "example.org:8000", "*example.org", "a.*.org", "a b", "::1", "a/", "é.example"]
)
def test_hosts_that_no_client_sends_are_refused(hosts: str) -> None:
    with pytest.raises(ValueError, match="name or address alone"):
        Settings(allowed_hosts=hosts)


@pytest.mark.parametrize("hosts", ["example.org", "*.example.org, 192.0.2.1"])
def test_the_health_command_calls_the_server_by_an_allowed_name(serve: Any, tmp_path: Path, hosts: str) -> None:
    port = str(urlsplit(serve(allowed_hosts=hosts).url).port)
    settings = {"DICE_TALK_PORT": port, "DICE_TALK_ALLOWED_HOSTS": hosts}
    command = [sys.executable, "-m", "api.health"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **settings}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60)
    assert (done.returncode, json.loads(done.stdout)["status"]) == (0, "healthy"), done.stderr
