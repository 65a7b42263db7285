"""One process that serves by itself: ``workers = 1``, without a supervisor.

A supervisor above one worker would cost 7 MiB (PSS of both, 29 against 22) and 20 ms of CPU at the start. A reload is
loaded in a thread and taken over in place: connections go on, and the next request on each is judged by the new
configuration.
"""

from __future__ import annotations

import asyncio
import sys
from functools import partial

from proxy.config.settings import Loaded, Settings
from proxy.core.policy import Policy
from proxy.errors import HookwardError
from proxy.net.apart import SWITCH_S
from proxy.ops.journal import log
from proxy.ops.places import Held
from proxy.ops.process import let_go
from proxy.ops.service import Launch, Load, Service
from proxy.ops.worker import Worker


class Solo:
    """The process. ``run`` returns when it is to end."""

    workers = 1

    def __init__(self, launch: Launch) -> None:
        self._load = launch.load
        self._loop = asyncio.get_running_loop()
        self.worker = Worker(launch.loaded, launch.sockets(), launch.shelf)
        self.metrics, self.leave, self.reopen = self.worker.metrics, self.worker.leave, self.worker.reopen
        self.service = Service(launch, self._loop, self)
        self._reload: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Serve until a signal says otherwise. Raises ListenError or ConfigError where the start fails."""
        try:
            await self.worker.open()
            self.service.serves()
            await self.worker.serve()
        finally:
            if self._reload is not None:
                self._reload.cancel()
            self.service.close()
            await self.worker.close()
        log.info("stopped")  # not of a start that failed: why it did is told next

    # -- asked by the service

    @property
    def loaded(self) -> Loaded:
        """The load of the configuration that is in force."""
        return self.worker.loaded

    @property
    def held(self) -> list[Held]:
        """The sockets that it serves."""
        return self.worker.held

    def reload(self) -> None:
        """Load the configuration beside the loop, and take it over."""
        self._reload = self._loop.create_task(self._load_again())

    async def _load_again(self) -> None:
        before = self.loaded
        try:
            load = partial(_load_apart, self._load, before.policy, before.settings)
            loaded, parts = await self._loop.run_in_executor(None, load)
            if self.worker.is_leaving:
                return
            self.worker.change(loaded)
        except HookwardError as error:
            self.service.refused(str(error))
            return
        let_go(self._loop, before.policy, parts)
        self.service.changed()


def _load_apart(load: Load, before: Policy, settings: Settings) -> tuple[Loaded, list[object]]:
    """Load in a thread: exchanges go on, each after half a millisecond. Gives the parts of ``before``, too."""
    sys.setswitchinterval(SWITCH_S)
    return load(before.generation + 1), [*before.routes, *settings.sources.items()]
