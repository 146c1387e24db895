"""Connects to addresses that clients name, without opening a way to hosts that they cannot reach themselves."""

import socket
from collections.abc import Iterable, Sequence
from functools import partial
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

import anyio
import httpcore2
from pydantic import HttpUrl

from api.errors import InvalidValue
from dice_talk.error_codes import ErrorCode

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

NEVER = tuple(
    ip_network(network)
    for network in (
        "168.63.129.16/32",  # in public space, but the host of every Azure machine
        "192.0.0.0/24",  # protocol assignments; metadata of Oracle's cloud
        "192.88.99.0/24",  # 6to4 relays
        "2002::/16",  # 6to4: any IPv4 address in IPv6 clothes
        "3fff::/20",  # documentation
    )
)
"""Networks that some release of Python's `ipaddress` does not count as private."""
UNICAST_6 = ip_network("2000::/3")
NAT64 = ip_network("64:ff9b::/96")
"""IPv4 addresses for hosts without IPv4 (RFC 6052). The last 32 bits hold the address."""
WELL_KNOWN_PORTS = frozenset({80, 443})
FREE_PORTS = 1024
"""Any program may listen on a port from here on. What listens below is hardly ever a receiver of callbacks."""
RESOLVERS, MAX_ADDRESSES, CONNECT_S = 8, 4, 4.0


class AddressRefused(Exception):
    """The name resolves to no address that may be connected to."""


def is_allowed(address: Address, networks: Iterable[Network]) -> bool:
    """Whether an address is public, or in one of those networks."""
    plain = _plain(address)
    return any(plain in network for network in networks) or _is_public(plain)


def _plain(address: Address) -> Address:
    """Return the IPv4 address inside an IPv6 one, if packets would go there."""
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped:
            return address.ipv4_mapped
        if address in NAT64:
            return IPv4Address(int(address) & 0xFFFFFFFF)
    return address


def _is_public(address: Address) -> bool:
    if isinstance(address, IPv6Address) and address not in UNICAST_6:
        return False
    return address.is_global and not address.is_multicast and not any(address in network for network in NEVER)


def check_url(url: HttpUrl, networks: Iterable[Network]) -> str:
    """Return the URL in the form in which it is stored. Raises `InvalidValue` if it is refused without a DNS query."""
    _refuse_unsafe(url)
    try:
        address = ip_address(_host(url))
    except ValueError:
        return str(url)  # a host name is resolved and checked at the time of delivery
    if not is_allowed(address, networks):
        raise InvalidValue(
            ErrorCode.CALLBACK_ADDRESS,
            "callback_url points to an address that is not allowed",
            "It has to be public, or in a network that the operator of this server allows.",
        )
    return str(url)


def _refuse_unsafe(url: HttpUrl) -> None:
    if url.username or url.password:
        raise InvalidValue(
            ErrorCode.CALLBACK_CREDENTIALS,
            "callback_url must not hold a user name or password",
            "Callbacks are signed; see the docs.",
        )
    if url.port is None or (url.port not in WELL_KNOWN_PORTS and url.port < FREE_PORTS):
        raise InvalidValue(
            ErrorCode.CALLBACK_PORT,
            "callback_url names a port that is not allowed",
            "Allowed: 80, 443, {first} to 65535.",
            first=FREE_PORTS,
        )


def _host(url: HttpUrl) -> str:
    host = (url.host or "").strip("[]").rstrip(".")
    return "127.0.0.1" if host == "localhost" or host.endswith(".localhost") else host  # RFC 6761


class GuardedBackend(httpcore2.AnyIOBackend):
    """Connects to allowed addresses only.

    It resolves names itself and connects to the addresses that it checked, so a name that changes in between leads
    nowhere else. TLS still verifies the certificate for the name.
    """

    def __init__(self, networks: Sequence[Network]) -> None:
        self._networks = networks
        self._resolvers = anyio.CapacityLimiter(RESOLVERS)  # a slow name server must not use up all threads

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - so the parent has it
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        """Raises `AddressRefused`, or what the base class raises."""
        failure: Exception = AddressRefused()
        for address in await self._resolve(host, port):
            try:
                return await super().connect_tcp(str(address), port, CONNECT_S, local_address, socket_options)
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as error:
                failure = error
        raise failure

    async def _resolve(self, host: str, port: int) -> list[Address]:
        look_up = partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
        try:
            found = await anyio.to_thread.run_sync(look_up, abandon_on_cancel=True, limiter=self._resolvers)
        except (OSError, UnicodeError) as error:
            raise httpcore2.ConnectError("the name is not known") from error
        addresses = dict.fromkeys(ip_address(entry[4][0]) for entry in found)
        return [address for address in addresses if is_allowed(address, self._networks)][:MAX_ADDRESSES]
