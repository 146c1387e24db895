"""Who sent the running request."""

from contextvars import ContextVar
from ipaddress import IPv6Address, ip_address

IPV6_NETWORK = 64
"""Prefix length: a subscriber usually owns all addresses of such a network."""

caller: ContextVar[str] = ContextVar("caller", default="")
"""The name of the request's API key, or the client's address if no key is needed."""
address: ContextVar[str] = ContextVar("address", default="")
"""The address that the request comes from."""


def client_of(owner: str | None, host: str | None) -> str:
    """Return the value for `caller`."""
    if owner is not None or host is None:
        return owner or ""
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:  # a Unix socket, or a test's client
        return host
    if not isinstance(address, IPv6Address):
        return host
    return str(address.ipv4_mapped or int(address) >> 128 - IPV6_NETWORK)
