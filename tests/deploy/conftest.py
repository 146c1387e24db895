"""The real service behind nginx and Caddy, with the very files in deploy/: only names and ports are changed."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests
import urllib3

from api.settings import Settings
from benchmarks.serving import free_port
from tests.conftest import ROOT, Service, running
from tests.waiting import wait_for

DEPLOY = ROOT / "deploy"
NAME = "talk.example.org"


@dataclass(frozen=True)
class Front:
    """A proxy and what is behind it."""

    program: str
    url: str  # with the sub-path, without a slash at its end
    plain: str  # without TLS
    certificate: Path
    service: Service


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Self-signed; the key lies beside it."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl: no certificate for the proxies' tests; on Debian and Ubuntu, apt-get install openssl")
    file = tmp_path_factory.mktemp("certificate") / "proxy.crt"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost"
    extension = ["-addext", "subjectAltName=DNS:localhost"]
    files = ["-out", str(file), "-keyout", str(file.with_suffix(".key"))]
    subprocess.run([*command.split(), *extension, *files], check=True, capture_output=True)
    return file


def nginx_command(folder: Path, port: int, plain: int, upstream: int, certificate: Path) -> list[str]:
    site = (DEPLOY / "nginx.conf").read_text()
    for shipped, used in (
        ("listen 443 ssl", f"listen 127.0.0.1:{port} ssl"),
        ("listen 80", f"listen 127.0.0.1:{plain}"),
        ("127.0.0.1:8000", f"127.0.0.1:{upstream}"),
        (f"/etc/ssl/{NAME}.crt", str(certificate)),
        (f"/etc/ssl/{NAME}.key", str(certificate.with_suffix(".key"))),
        (NAME, "localhost"),
    ):
        assert shipped in site
        site = site.replace(shipped, used)
    (folder / "site.conf").write_text(site)
    paths = "".join(
        f"{kind}_temp_path {folder}/{kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    user = "user root;" if os.geteuid() == 0 else ""  # else its workers could not read the folder of the test
    (folder / "nginx.conf").write_text(
        f"{user} daemon off; pid {folder}/pid; error_log {folder}/log; events {{}}\n"
        f"http {{ access_log off; {paths} include {folder}/site.conf; }}\n"
    )
    return ["nginx", "-e", f"{folder}/log", "-p", str(folder), "-c", f"{folder}/nginx.conf"]


def caddy_command(folder: Path, port: int, plain: int, upstream: int, certificate: Path) -> list[str]:
    site = (DEPLOY / "Caddyfile").read_text()
    tls = f"\tbind 127.0.0.1\n\ttls {certificate} {certificate.with_suffix('.key')}\n"
    for shipped, used in (
        (f"\n{NAME} {{\n", f"\n{{\n\tadmin off\n\thttp_port {plain}\n}}\nlocalhost:{port} {{\n{tls}"),
        ("127.0.0.1:8000", f"127.0.0.1:{upstream}"),
    ):
        assert shipped in site
        site = site.replace(shipped, used)
    (folder / "Caddyfile").write_text(site)
    return ["caddy", "run", "--adapter", "caddyfile", "--config", str(folder / "Caddyfile")]


COMMANDS = {"nginx": nginx_command, "caddy": caddy_command}


@pytest.fixture(scope="module", params=COMMANDS)
def front(
    request: pytest.FixtureRequest, certificate: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Front]:
    program = request.param
    if shutil.which(program) is None:
        pytest.skip(f"no {program}: its file in deploy/ is not tested; on Debian and Ubuntu, apt-get install {program}")
    folder = tmp_path_factory.mktemp(program)
    settings = Settings(
        data_dir=folder / "data",
        log_dir=folder / "logs",
        shutdown_seconds=0.1,
        root_path="/talk",
        trusted_proxies="127.0.0.1",
    )
    with running(settings, None, folder / "gate") as service:
        port, plain = free_port(), free_port()
        command = COMMANDS[program](folder, port, plain, int(service.url.rpartition(":")[2]), certificate)
        homes = {"HOME": str(folder), "XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}
        with (folder / "output").open("w") as output:
            proxy = subprocess.Popen(command, env={**os.environ, **homes}, stdout=output, stderr=output)
        try:
            front = Front(
                program, f"https://localhost:{port}/talk", f"http://localhost:{plain}/talk", certificate, service
            )
            wait_for(lambda: answers(front) or proxy.poll() is not None, 30)
            assert proxy.poll() is None, (folder / "output").read_text() + (folder / "log").read_text()
            yield front
        finally:
            proxy.terminate()
            proxy.wait(30)


def answers(front: Front) -> bool:
    try:
        return requests.get(f"{front.url}/api/live", verify=str(front.certificate), timeout=10).ok
    except (requests.ConnectionError, urllib3.exceptions.HTTPError):
        return False
