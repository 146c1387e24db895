"""What a reverse proxy changes: the path of the service, and the address of its clients."""

import logging
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Any, cast

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

log = logging.getLogger(__name__)
Network = IPv4Network | IPv6Network


class SubPath:
    """Puts every request below `root_path`, whether or not the proxy has removed that prefix.

    Routes, mounts, redirects and the OpenAPI document then agree: ASGI's `path` includes `root_path`.
    """

    def __init__(self, app: ASGIApp, root_path: str) -> None:
        self._app, self._root = app, root_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See `ASGIApp`."""
        if scope["type"] == "http":
            scope["root_path"] = self._root
            if not is_below(scope["path"], self._root):
                scope["path"] = self._root + scope["path"]
                scope["raw_path"] = self._root.encode() + scope["raw_path"]
        await self._app(scope, receive, send)


def is_below(path: str, root: str) -> bool:
    """Whether `path` is `root` or lies below it."""
    return path == root or path.startswith(f"{root}/")


class ClientAddress:
    """Takes the client's address and scheme from the X-Forwarded-For and X-Forwarded-Proto of a trusted proxy.

    uvicorn reads the headers. A forwarded value that is not an address is dropped, because it would be logged as it
    is. The first header from another address is logged as a warning: behind a proxy that is not trusted, all clients
    count as one.
    """

    def __init__(self, app: ASGIApp, trusted: list[Network]) -> None:
        self._app, self._warned = app, False
        self._trusted = [*trusted, *map(mapped, trusted)]
        self._forwarded = ProxyHeadersMiddleware(cast(Any, self._checked), list(map(str, self._trusted)))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See `ASGIApp`."""
        if scope["type"] == "http" and not self._warned:
            self._warn_of_strangers(scope)
        peer = {"peer": scope.get("client")} if scope["type"] == "http" else {}
        await self._forwarded(cast(Any, {**scope, **peer}), cast(Any, receive), cast(Any, send))

    def _warn_of_strangers(self, scope: Scope) -> None:
        host = scope["client"][0] if scope.get("client") else ""
        known = not _is_address(host) or any(ip_address(host) in network for network in self._trusted)
        if not known and "x-forwarded-for" in Headers(scope=scope):
            self._warned = True
            log.warning(
                "%s sends X-Forwarded-For but is not in trusted_proxies: if it is your proxy, all its clients count as "
                "one. See docs/deploy.md",
                host,
            )

    async def _checked(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope.get("client"):
            host, port = scope["client"]
            scope["client"] = (host, port if 0 <= port <= 65535 else 0) if _is_address(host) else scope["peer"]
        await self._app(scope, receive, send)


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return "%" not in host  # a zone may be any text


def mapped(network: Network) -> Network:
    """Return an IPv4 network in the form in which a dual-stack socket reports it."""
    if isinstance(network, IPv6Network):
        return network
    return ip_network(f"::ffff:{network.network_address}/{96 + network.prefixlen}")
