"""Where a process listens, and the sockets that are bound there already.

A place is what the configuration says; its sockets may come from elsewhere: from the supervisor that bound them for all
its workers, or from the process that ran before an upgrade. What is there is taken, what is missing is bound, all or
nothing. This module never accepts, and knows no policy.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence

from proxy.config.endpoints import ListenAddress
from proxy.config.settings import Settings
from proxy.net.sockets import BoundSocket, listen_all
from proxy.values import frozen

WEBHOOKS = "webhooks"
ADMIN = "admin"
CONSOLE = "console"


@frozen
class ListenPlace:
    """One entry of ``listen``, of a plain TCP forward ("tcp NAME"), of ``admin`` or ``console``, and its use."""

    use: str
    address: ListenAddress


def tcp(name: str) -> str:
    """What the place of a plain TCP forward is for."""
    return f"tcp {name}"


def places_of(settings: Settings) -> list[ListenPlace]:
    """Every place of a configuration."""
    places = [ListenPlace(WEBHOOKS, address) for address in settings.listen]
    places += [ListenPlace(tcp(forward.name), forward.listen) for forward in settings.tcp]
    return places + own_places(settings)


def own_places(settings: Settings) -> list[ListenPlace]:
    """Those that are for the operator, not for deliveries."""
    console = None if settings.console is None else settings.console.listen
    return [
        ListenPlace(use, place) for use, place in ((ADMIN, settings.admin), (CONSOLE, console)) if place is not None
    ]


Held = tuple[ListenPlace, BoundSocket]


def shown(held: Iterable[Held]) -> list[tuple[str, str]]:
    """For the banner: "" (webhooks), "admin" or a forward's name, and where it listens now."""
    return [("" if place.use == WEBHOOKS else place.use.removeprefix(tcp("")), str(bound)) for place, bound in held]


class SocketStore:
    """Sockets that wait to be used, by place. ``environ`` is where systemd says which sockets it passed."""

    def __init__(self, environ: Mapping[str, str], held: Iterable[Held] = ()) -> None:
        self._environ = environ
        self._held = list(held)

    def take(self, places: Sequence[ListenPlace]) -> list[Held]:
        """The sockets for ``places``; those that are held are held no longer. ListenError, and nothing has changed."""
        held = {place for place, _ in self._held}
        fresh = self._bind([place for place in places if place not in held])
        taken = set(places)
        mine = [one for one in self._held if one[0] in taken]
        self._held = [one for one in self._held if one[0] not in taken]
        return mine + fresh

    def _bind(self, places: Sequence[ListenPlace]) -> list[Held]:
        # In one call, which is all or nothing and sees "[::]:443" and "0.0.0.0:443" side by side.
        bound = deque(listen_all([place.address for place in places], self._environ))
        result: list[Held] = []
        for place in places:
            result.append((place, bound.popleft()))
            # systemd may pass several sockets under one name; two equal entries with port 0 are two sockets.
            while place.address.fd_name is not None and bound and bound[0].address == place.address:
                result.append((place, bound.popleft()))
        return result

    def close(self, *, unlink: bool = True) -> None:
        """Close what was not taken."""
        for _, bound in self._held:
            bound.close(unlink=unlink)
        self._held = []
