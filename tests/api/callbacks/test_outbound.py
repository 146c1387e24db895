"""Where callbacks may go."""

import socket
from ipaddress import ip_address, ip_network
from typing import Any

import anyio
import httpcore2
import pytest
from pydantic import HttpUrl, TypeAdapter

from api.callbacks.outbound import AddressRefused, GuardedBackend, check_url, is_allowed
from api.errors import InvalidValue
from tests.receiver import Receiver

URL = TypeAdapter(HttpUrl)


@pytest.mark.parametrize(
    ("address", "allowed"),
    [
        *((address, True) for address in ("1.1.1.1", "93.184.215.14", "2606:4700::1111", "::ffff:8.8.8.8")),
        *((address, True) for address in ("64:ff9b::808:808", "192.168.7.9", "::ffff:192.168.7.9", "fd00:7::1")),
        *((address, False) for address in ("0.0.0.0", "0.1.2.3", "10.0.0.1", "127.0.0.1", "127.255.0.9", "::1", "::")),
        *((address, False) for address in ("100.64.0.1", "100.100.100.200", "169.254.169.254", "172.16.0.1")),
        *((address, False) for address in ("192.0.0.192", "192.0.2.1", "192.88.99.1", "192.168.8.1", "198.18.0.1")),
        *((address, False) for address in ("198.51.100.1", "203.0.113.1", "224.0.0.1", "239.1.1.1", "240.0.0.1")),
        *((address, False) for address in ("255.255.255.255", "168.63.129.16", "::127.0.0.1", "::ffff:10.0.0.1")),
        *((address, False) for address in ("64:ff9b::a00:1", "64:ff9b:1::a00:1", "100::1", "2001::1", "2001:db8::1")),
        *((address, False) for address in ("2002:7f00:1::", "2002:a00:1::1", "3fff::1", "5f00::1", "fc00::1")),
        *((address, False) for address in ("fd00:8::1", "fe80::1", "fe80::1%1", "fec0::1", "ff02::1", "ff0e::1")),
    ],
)
def test_which_addresses_are_allowed(address: str, allowed: bool) -> None:
    networks = [ip_network("192.168.7.0/24"), ip_network("fd00:7::/32")]
    assert is_allowed(ip_address(address), networks) == allowed


def test_of_several_addresses_only_allowed_ones_are_tried(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    def resolve(host: str, port: int, **named: Any) -> Any:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, port)) for host in found]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    found = ["10.0.0.1", "127.0.0.1"]
    backend = GuardedBackend([ip_network("127.0.0.0/30")])

    async def connect() -> Any:
        stream = await backend.connect_tcp("example.org", receiver.port)
        peer = stream.get_extra_info("server_addr")
        await stream.aclose()
        return peer

    assert anyio.run(connect) == ("127.0.0.1", receiver.port)
    found = ["10.0.0.1", "127.0.0.9"]
    with pytest.raises(AddressRefused):
        anyio.run(connect)


def test_a_name_that_is_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: Any, **named: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    with pytest.raises(httpcore2.ConnectError, match="the name is not known"):
        anyio.run(GuardedBackend([]).connect_tcp, "nowhere.example", 80)


def test_the_last_failure_is_told_when_nothing_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(httpcore2.ConnectError):
        anyio.run(GuardedBackend([ip_network("127.0.0.0/8")]).connect_tcp, "127.0.0.1", port)


def test_only_so_many_addresses_are_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [f"127.0.0.{number}" for number in (1, 1, 2, 3, 4, 5, 6)]
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda host, port, **named: [(2, 1, 6, "", (address, port)) for address in found]
    )
    addresses = anyio.run(GuardedBackend([ip_network("127.0.0.0/8")])._resolve, "example.org", 80)
    assert [str(address) for address in addresses] == ["127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.4"]


@pytest.mark.parametrize(
    ("url", "stored"),
    [
        ("https://example.org", "https://example.org/"),
        ("https://example.org:443/hook?x=1#y", "https://example.org/hook?x=1#y"),
        ("http://example.org:80/", "http://example.org/"),
        ("http://example.org:1024/", "http://example.org:1024/"),
        ("http://example.org:65535/", "http://example.org:65535/"),
        ("http://localhostile.example/", "http://localhostile.example/"),
        ("http://1.1.1.1/", "http://1.1.1.1/"),
        ("http://10.1.2.3/", "http://10.1.2.3/"),
        ("http://[2606:4700::1111]/", "http://[2606:4700::1111]/"),
    ],
)
def test_addresses_that_are_taken(url: str, stored: str) -> None:
    assert check_url(URL.validate_python(url), [ip_network("10.1.0.0/16")]) == stored


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("http://me@example.org/", "callback_url must not hold a user name or password"),
        ("https://me:secret@example.org/", "callback_url must not hold a user name or password"),
        ("http://:secret@example.org/", "callback_url must not hold a user name or password"),
        ("http://example.org:22/", "callback_url names a port that is not allowed"),
        ("http://example.org:0/", "callback_url names a port that is not allowed"),
        ("http://example.org:1023/", "callback_url names a port that is not allowed"),
        ("http://10.2.0.1/", "callback_url points to an address that is not allowed"),
        ("http://LOCALHOST/", "callback_url points to an address that is not allowed"),
        ("http://a.localhost./", "callback_url points to an address that is not allowed"),
        ("http://127.1/", "callback_url points to an address that is not allowed"),
        ("http://[::ffff:10.2.0.1]/", "callback_url points to an address that is not allowed"),
    ],
)
def test_addresses_that_are_refused(url: str, message: str) -> None:
    with pytest.raises(InvalidValue, match=f"^{message}$"):
        check_url(URL.validate_python(url), [ip_network("10.1.0.0/16")])
