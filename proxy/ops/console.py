"""The console as a part of a worker: imported where it is configured, opened when the worker serves.

It is the only one that knows both; the console asks of the worker what its protocol names, and nothing else.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Awaitable, Callable
from types import ModuleType

from proxy.config.settings import Settings
from proxy.net.site import Site
from proxy.ops.journal import audit
from proxy.ops.own_listeners import OwnListeners
from proxy.ops.places import CONSOLE
from proxy.ops.private import PrivateSocket
from proxy.values import frozen

Describe = Callable[[], Awaitable[dict[str, object]]]


def import_console(settings: Settings) -> ModuleType | None:
    """The module of the console, where one is configured. To be called while the package can be read for certain: the
    user that the process becomes may not be able to, and what is imported stays.
    """
    if settings.console is None:
        return None
    from proxy.console import console

    return console


@frozen
class _OfWorker:
    """What the console may ask of its worker."""

    describe: Describe
    process: int

    def reload(self) -> None:
        """Have the process load its configuration again. OSError where it is another user's."""
        os.kill(self.process, signal.SIGHUP)


async def open_console(
    settings: Settings, site: Site, own: OwnListeners, private: PrivateSocket, describe: Describe
) -> Callable[[], None]:
    """Keep what comes from now on, and serve it, where that is configured. Gives what ends it."""
    if settings.console is None:
        return lambda: None
    from proxy.console import console as wing

    listen = settings.console.listen
    console = wing.Console(
        settings.console,
        site,
        _OfWorker(describe, private.process),
        private,
        state_dir=settings.state_dir,
        hosts={listen.host.lower(), *own.names} - {""},
        audit=audit,
    )
    scheme = "http" if listen.is_local else "https"
    console.places += [f"{scheme}://{bound}" for place, bound in own.held if place.use == CONSOLE]
    await own.serve(CONSOLE, console.server, secure=not listen.is_local)
    return console.close
