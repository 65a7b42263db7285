"""``run``: load the configuration and serve. What goes wrong before the first connection ends with its exit code.

One process serves by itself (``Solo``), unless several workers are asked for. A supervisor above one worker would cost
7 MiB (PSS of both, 29 against 22) and 20 ms of CPU at the start. What not every start needs (several workers,
``--check-config``) is imported where it is asked for.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Sequence
from functools import partial

from proxy.config.flags import Words
from proxy.config.host import LOOP_VARIABLE, ExitCode, HelpfulParser, environment, paused, worker_count
from proxy.config.load import load_namespace, parse_flags
from proxy.config.set_shelf import SetShelf
from proxy.config.settings import Dials, Loaded, Settings, identity_of
from proxy.core.policy import Policy
from proxy.errors import ConfigError, HookwardError
from proxy.net.clock import Clock
from proxy.net.large_bodies import SWITCH_S
from proxy.ops.admin import import_console
from proxy.ops.journal import Notifier, log, open_journal, take_over_standard_error
from proxy.ops.optional import import_queue, import_store
from proxy.ops.places import UMASK, Held, receive
from proxy.ops.process import (
    hold_standard_descriptors,
    let_go,
    loop_factory,
    raise_descriptor_limit,
    settle,
)
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


STATE_DIR_VARIABLE = "HOOKWARD_STATE_DIR"

DESCRIPTION = """\
hookward lets webhooks in and nothing else: it checks what comes (address,
token, signature) and pipes what holds to the application behind it."""

EXAMPLES = """\
examples:
  hookward --listen 0.0.0.0:443 --upstream 127.0.0.1:8000 \\
           --tls-cert chain.pem --tls-key key.pem --path /hooks/github \\
           --provider github --secret-file github.secret --allow set:github
  hookward --config /etc/hookward/hookward.toml
  hookward check --config /etc/hookward/hookward.toml

A secret's value is never taken from the command line: give a file or the name
of a variable.
"""


def main(argv: Sequence[str]) -> int:
    """Serve until a signal says otherwise. Raises FlagError, ConfigError and ListenError for the caller to tell."""
    if {"--help", "-h", "--help-all"} & set(argv):
        print(build_parser().format_help(), end="")
        return ExitCode.OK
    namespace = parse_flags(argv)
    if namespace.check_config:
        from proxy.tools import check

        return check.main(argv)
    return serve(namespace)


def serve(namespace: Words, dials: Dials | None = None) -> int:
    """Serve until a signal says otherwise; with ``dials`` as an agent. Raises FlagError, ConfigError, ListenError."""
    hold_standard_descriptors()
    try:
        launch = _launch(namespace, dials)
        identity_of(launch.loaded.settings)
    except ConfigError as error:
        from proxy.tools import start

        raise start.all_at_once(error, namespace, environment()) from None
    take_over_standard_error()
    open_journal(launch.loaded.settings.log_level)
    import_store(launch.loaded.settings.duplicates)
    import_console(launch.loaded.settings)
    import_queue(launch.loaded)
    os.umask(UMASK)
    server = launch.loaded.policy.server
    for warning in raise_descriptor_limit(server.max_connections, server.max_exchanges):
        log.warning("%s", warning)
    factory = loop_factory(os.environ.get(LOOP_VARIABLE, ""))
    if (joined := launch.loaded.settings.dials) is not None:
        from proxy.agent import serve as agent

        asyncio.run(agent.join_all(joined, Clock.wall))
    elif worker_count(launch.loaded.settings.workers) > 1:
        from proxy.ops.supervisor import Supervisor

        return Supervisor(launch, factory).run()
    settle()
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(_serve(launch))
    return ExitCode.OK


def _launch(namespace: Words, dials: Dials | None) -> Launch:
    old = receive(os.environ)
    environ = environment()
    shelf = SetShelf()

    def load_again(generation: int, *, state_dir: str | None = None) -> Loaded:
        given = environ if state_dir is None else {STATE_DIR_VARIABLE: state_dir, **environ}
        with paused():
            return load_namespace(namespace, given, generation=generation, shelf=shelf, dials=dials)

    loop = "asyncio" if loop_factory(os.environ.get(LOOP_VARIABLE, "")) is None else "uvloop"
    notifier = Notifier.of(os.environ, new=old is not None)
    return Launch(load_again(1), load_again, environ, shelf, notifier, old, loop)


async def _serve(launch: Launch) -> None:
    await Solo(launch).run()


def build_parser() -> HelpfulParser:
    """The parser of ``run``, for its help."""
    import argparse

    from proxy.config import parsers

    parser = parsers.RunParser(
        prog="hookward",
        usage="hookward [run] [FILE] [flags]\n       hookward COMMAND [flags]",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        add_help=False,
    )
    parsers.add_run_flags(parser)
    return parser
