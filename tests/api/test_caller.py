"""For whom a request is served."""

import pytest

from api.caller import client_of


@pytest.mark.parametrize(
    ("owner", "host", "client"),
    [
        ("alice", "192.0.2.1", "alice"),
        (None, "192.0.2.1", "192.0.2.1"),
        (None, "::ffff:192.0.2.1", "192.0.2.1"),
        (None, None, ""),
        (None, "testclient", "testclient"),
    ],
)
def test_a_client_has_a_key_or_an_address(owner: str | None, host: str | None, client: str) -> None:
    assert client_of(owner, host) == client


def test_a_subscribers_addresses_are_one_client() -> None:
    assert client_of(None, "2001:db8::1") == client_of(None, "2001:db8::9:8:7:6%eth0") != client_of(None, "2001:db9::1")


def test_ipv6_networks_are_told_apart_by_their_first_64_bits() -> None:
    assert client_of(None, "2001:db8:0:1::1") != client_of(None, "2001:db8:0:2::1")
    assert client_of(None, "2001:db8:0:1::1") == client_of(None, "2001:db8:0:1:ffff:ffff:ffff:ffff")


def test_an_empty_owner_is_one() -> None:
    assert client_of("", "192.0.2.1") == ""
