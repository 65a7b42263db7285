"""What can never be let in, by the configuration alone: addresses that cannot come to where we listen, and guards that
cannot both hold. Pure; ``config.build`` warns of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from ipaddress import ip_address

from proxy.config.admission import EVERYBODY, callers
from proxy.config.endpoints import ListenAddress
from proxy.core.addresses import AddressSet
from proxy.core.policy import Route
from proxy.core.tokens import TokenKind

_LOOPBACK = AddressSet.parse(["127.0.0.0/8", "::1", "unix:"])
_IPV4 = AddressSet.parse(["0.0.0.0/0"])
_IPV6 = AddressSet.parse(["::/0"])


def peers(listen: Sequence[ListenAddress]) -> AddressSet:
    """The addresses from which a connection can come to one of these."""
    return AddressSet.union([_peers(address) for address in listen])


def _peers(address: ListenAddress) -> AddressSet:
    if address.is_local:
        return _LOOPBACK
    if address.fd_name is not None or not address.host or address.host == "::":
        return EVERYBODY
    return _IPV4 if ip_address(address.host).version == 4 else _IPV6


def shut_out(
    listen: Sequence[ListenAddress], trusted: AddressSet, routes: Sequence[Route], *, proxied: bool
) -> Iterator[tuple[Route, str]]:
    """The routes that no address can call, and why in words. ``proxied``: a PROXY header is required."""
    if not listen or all(address.path is not None for address in listen):
        return  # a rule of its own speaks of unix sockets
    coming = peers(listen)
    heard = _heard(coming, listen)
    if not proxied and not _meet(trusted, coming):
        closed = _closed(routes, coming)
        yield from ((route, f"{heard}, no proxy is trusted, and `allow` has none of them") for route in closed)
    elif not _meet(trusted, coming):
        yield from ((route, f"{heard}, and `trusted_proxies` has none of them") for route in routes)


def _closed(routes: Sequence[Route], coming: AddressSet) -> Iterator[Route]:
    """Those whose lists have no address that is ``coming``; thousands may share their lists."""
    known: dict[tuple[int, ...], bool] = {}
    for route in routes:
        kind = (id(route.allow), *map(id, route.deny))
        if kind not in known:
            allowed = None if route.allow is None else callers(route.allow, route.deny)
            known[kind] = bool(allowed) and allowed is not None and not _meet(allowed, coming)
        if known[kind]:
            yield route


def _meet(one: AddressSet, other: AddressSet) -> bool:
    return one.without(other) != one


def _heard(coming: AddressSet, listen: Sequence[ListenAddress]) -> str:
    if coming == _LOOPBACK:
        return "it listens on loopback only, so that all addresses are of this host"
    family = "IPv4" if not coming.without(_LOOPBACK).bounds6 else "IPv6"
    return f"it listens on {', '.join(map(str, listen))}, so that all addresses are of {family}"


def clashes(route: Route) -> str:
    """Why a route's token and signature cannot both be right, in words; "" where they can."""
    token, signature = route.token, route.signature
    if token is None or signature is None or token.kind is TokenKind.QUERY:
        return ""
    name = token.name or b"authorization"
    if name not in signature.scheme.headers:
        return ""
    return f"its token and its signature are both read from the header {name.decode('latin-1')}"
