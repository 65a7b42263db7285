"""Which addresses may connect at all, and for which a share is kept: made from the lists of all routes; and what can
never be let in, by the configuration alone.

``deny`` wins over ``allow`` within each route, and then the routes are united: what no route would take is reset at
accept, before TLS, and the kernel filter is made from the same set. What one route denies and another takes comes
through, and is judged again with its request. Pure; ``config.set_shelf`` asks again when a published list has changed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from ipaddress import ip_address
from typing import Protocol, TypeVar

from proxy.config.endpoints import ListenAddress
from proxy.config.settings import TcpSettings
from proxy.core.addresses import AddressSet
from proxy.core.policy import Exposure, Route
from proxy.core.tokens import TokenKind

EVERYBODY = AddressSet.parse(["all"])


def callers(allow: AddressSet | None, deny: Sequence[AddressSet]) -> AddressSet | None:
    """What the two lists let in together; None is every address."""
    if not deny:
        return allow
    return (EVERYBODY if allow is None else allow).without(AddressSet.union(deny))


def admitted_by(exposure: Exposure, routes: Sequence[Route]) -> AddressSet | None:
    """What the routes let in together; None where that is every address, or one of them looks at no address."""
    if exposure is Exposure.LOCAL and not any(route.deny for route in routes):
        return None
    each = _each(routes)
    listed = [one for one in each if one is not None]
    if len(listed) < len(each):
        return None
    united = AddressSet.union(listed)
    # What one route denies, another may take: together they may well be open to every address.
    is_all = united == EVERYBODY and any(route.allow is None for route in routes)
    return None if is_all else united


def admission_of(
    admitted: AddressSet | None, trusted: AddressSet, doors: Sequence[AddressSet | None]
) -> AddressSet | None:
    """Which addresses are let in at accept, None for all: those of routes, of trusted proxies and of agents."""
    listed = [admitted, trusted, *doors]
    return None if admitted is None or None in doors else AddressSet.union([one for one in listed if one is not None])


def reserved_for(
    admitted: AddressSet | None, routes: Sequence[Route], trusted: AddressSet, doors: Sequence[AddressSet | None] = ()
) -> AddressSet:
    """For which a share of connections is kept: the listed addresses, where others or agents may connect as well."""
    listed = [one for one in _each([route for route in routes if route.allow is not None]) if one is not None]
    if (admitted is not None and not doors) or not listed:
        return AddressSet.empty()
    return AddressSet.union([*listed, trusted])


def shut(routes: Sequence[Route]) -> list[Route]:
    """The routes that deny every address that they allow."""
    lists = dict(zip(_kinds(routes), _each(routes), strict=True))
    empty = {kind for kind, one in lists.items() if one is not None and not one}
    return [route for route in routes if empty and _kind(route) in empty]


def _each(routes: Sequence[Route]) -> list[AddressSet | None]:
    """What each of the routes lets in; thousands may share their lists."""
    return [callers(route.allow, route.deny) for route in _kinds(routes).values()]


def _kinds(routes: Sequence[Route]) -> dict[tuple[int, ...], Route]:
    """A route for each pair of lists."""
    return {_kind(route): route for route in routes}


def _kind(route: Route) -> tuple[int, ...]:
    return (id(route.allow), *map(id, route.deny))


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
    return AddressSet.union([_peers_of(address) for address in listen])


def _peers_of(address: ListenAddress) -> AddressSet:
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
