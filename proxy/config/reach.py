"""What can never be let in, by the configuration alone: addresses that cannot come to where we listen, and guards that
cannot both hold. Pure; ``config.build`` warns of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from ipaddress import ip_address
from typing import Protocol, TypeVar

from proxy.config.admission import EVERYBODY, callers
from proxy.config.endpoints import ListenAddress
from proxy.config.settings import TcpSettings
from proxy.core.addresses import AddressSet
from proxy.core.policy import Route
from proxy.core.tokens import TokenKind

_UNIX = AddressSet.parse(["unix:"])
_LOOPBACK = AddressSet.parse(["127.0.0.0/8", "::1"])
_HERE = _LOOPBACK | _UNIX
_IPV4 = AddressSet.parse(["0.0.0.0/0"])
_IPV6 = AddressSet.parse(["::/0"])


class _Listed(Protocol):
    """What has lists of addresses: a route, or a plain TCP forward."""

    @property
    def allow(self) -> AddressSet | None: ...

    @property
    def deny(self) -> tuple[AddressSet, ...]: ...


Listed = TypeVar("Listed", bound=_Listed)


def peers(listen: Sequence[ListenAddress]) -> AddressSet:
    """The addresses from which a connection can come to one of these."""
    return AddressSet.union([_peers(address) for address in listen])


def _peers(address: ListenAddress) -> AddressSet:
    if address.is_local:
        return _LOOPBACK if address.path is None else _UNIX
    if address.fd_name is not None or not address.host or address.host == "::":
        return EVERYBODY
    return _IPV4 if ip_address(address.host).version == 4 else _IPV6


def shut_out(
    listen: Sequence[ListenAddress], trusted: AddressSet, routes: Sequence[Route], *, proxied: bool
) -> Iterator[tuple[Route, str]]:
    """The routes that no address can call, and why in words. ``proxied``: a PROXY header is required."""
    coming = peers(listen)
    if not listen or _meet(trusted, coming):
        return  # a proxy names the client, of any address
    if proxied:
        yield from ((route, f"{_heard(coming, listen)}, and `trusted_proxies` has none of them") for route in routes)
    elif coming != _UNIX:  # of which a rule of its own speaks
        why = f"{_heard(coming, listen)}, no proxy is trusted, and `allow` has none of them"
        yield from ((route, why) for route in _closed(routes, coming))


def shut_forwards(forwards: Sequence[TcpSettings]) -> Iterator[tuple[TcpSettings, str]]:
    """The plain TCP forwards to which no address can connect, and why in words."""
    for forward in forwards:
        coming = peers([forward.listen])
        for shut in _closed([forward], coming):
            yield shut, f"{_heard(coming, [forward.listen])}, and `allow` has none of them"


def _closed(listed: Sequence[Listed], coming: AddressSet) -> Iterator[Listed]:
    """Those whose lists have no address that is ``coming``; thousands may share their lists."""
    known: dict[tuple[int, ...], bool] = {}
    for one in listed:
        kind = (id(one.allow), *map(id, one.deny))
        if kind not in known:
            allowed = None if one.allow is None else callers(one.allow, one.deny)
            known[kind] = bool(allowed) and allowed is not None and not _meet(allowed, coming)
        if known[kind]:
            yield one


def _meet(one: AddressSet, other: AddressSet) -> bool:
    return one.without(other) != one


def _heard(coming: AddressSet, listen: Sequence[ListenAddress]) -> str:
    where = ", ".join(map(str, listen))
    if not coming.without(_HERE):
        return f"it listens on {'loopback only' if coming == _LOOPBACK else where}, so that all peers are of this host"
    return f"it listens on {where}, so that all addresses are of {'IPv6' if coming.bounds6 else 'IPv4'}"


def clashes(route: Route) -> str:
    """Why a route's token and signature cannot both be right, in words; "" where they can."""
    token, signature = route.token, route.signature
    if token is None or signature is None or token.kind is TokenKind.QUERY:
        return ""
    name = token.name or b"authorization"
    if name not in signature.scheme.headers:
        return ""
    return f"its token and its signature are both read from the header {name.decode('latin-1')}"
