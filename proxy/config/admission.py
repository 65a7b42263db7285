"""Which addresses may connect at all, and for which a share is kept: made from the lists of all routes.

``deny`` wins over ``allow`` within each route, and then the routes are united: what no route would take is reset at
accept, before TLS, and the kernel filter is made from the same set. What one route denies and another takes comes
through, and is judged again with its request. Pure; ``config.set_swap`` asks again when a published list has changed.
"""

from __future__ import annotations

from collections.abc import Sequence

from proxy.core.addresses import AddressSet
from proxy.core.policy import Exposure, Route

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
    admitted: AddressSet | None,
    routes: Sequence[Route],
    trusted: AddressSet,
    doors: Sequence[AddressSet | None] = (),
) -> AddressSet:
    """For which a share of the connections is kept: the listed addresses, where others may connect as well. Agents may
    be let in from anywhere (``doors``), and so are others.
    """
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
