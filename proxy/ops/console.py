"""The console as a part of a worker: imported where it is configured, opened when the worker serves.

It is the only one that knows both; the console asks of the worker what its protocol names, and nothing else.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Awaitable, Callable
from types import ModuleType

from proxy.config.settings import Settings
from proxy.core.metrics import plain_snapshot
from proxy.errors import ConfigError
from proxy.net.http_server import JSON, TEXT, Answer, Request
from proxy.net.site import Site
from proxy.ops.journal import audit
from proxy.ops.listeners import OwnListeners
from proxy.ops.places import CONSOLE
from proxy.ops.private import PrivateSocket
from proxy.values import frozen

Describe = Callable[[], Awaitable[dict[str, object]]]


def import_console(settings: Settings) -> ModuleType | None:
    """The module of a console that is configured, imported before the user changes: that one may not read it."""
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
    """Keep what comes from now on, and serve it, where that is configured. Gives what ends it. Raises ConfigError."""
    paths = private.paths
    paths.add("GET /metrics", lambda _: Answer(200, JSON, json.dumps(plain_snapshot(site.metrics.snapshot())).encode()))
    if settings.console is None:
        paths.add("POST /console/stream", lambda request: _lend(site, request))
        return lambda: None
    from proxy.console import console as wing
    from proxy.console import store

    listen = settings.console.listen
    try:
        console = wing.Console(
            settings.console,
            site,
            _OfWorker(describe, private.process),
            private,
            state_dir=settings.state_dir,
            hosts={listen.host.lower(), *own.names} - {""},
            audit=audit,
        )
    except store.StoreFailedError as error:
        mend = "let the user that hookward runs as write there, or name another file"
        what = f"{settings.console.store} cannot be used ({error})"
        raise ConfigError.of("console.store", what, mend) from None
    scheme = "http" if listen.is_local else "https"
    console.places += [f"{scheme}://{bound}" for place, bound in own.held if place.use == CONSOLE]
    await own.serve(CONSOLE, console.server, secure=not listen.is_local)
    return console.close


def _lend(site: Site, request: Request) -> Answer:
    """What comes from now on, of a worker without a console."""
    try:
        from proxy.console import crew
    except ImportError:
        return Answer(503, TEXT, b"the user that serves cannot read the package: configure [console]\n")
    return crew.stream_without_console(site, request)
