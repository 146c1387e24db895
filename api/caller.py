"""For whom the running request is served."""

from contextvars import ContextVar
from ipaddress import IPv6Address, ip_address

IPV6_NETWORK = 64
"""Bits: a subscriber has all addresses of such a network."""

caller: ContextVar[str] = ContextVar("caller", default="")
"""For whom this request is served: the name of a key, or where none is needed, an address."""
address: ContextVar[str] = ContextVar("address", default="")
"""Where this request comes from."""


def client_of(owner: str | None, host: str | None) -> str:
    """What `caller` is set to."""
    if owner is not None or host is None:
        return owner or ""
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:  # a Unix socket, or a test's client
        return host
    if not isinstance(address, IPv6Address):
        return host
    return str(address.ipv4_mapped or int(address) >> 128 - IPV6_NETWORK)
