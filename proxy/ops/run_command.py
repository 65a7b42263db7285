"""``run``: load the configuration and serve. What goes wrong before the first connection ends with its exit code.

What not every start needs (several workers, ``--check-config``) is imported where it is asked for.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence

from proxy.config.commandline import ExitCode, HelpfulParser
from proxy.config.flags import Words
from proxy.config.given_flags import parse_flags
from proxy.config.host import LOOP_VARIABLE, environment, paused, worker_count
from proxy.config.load import load_namespace
from proxy.config.set_shelf import SetShelf
from proxy.config.settings import Dials, Loaded, identity_of
from proxy.errors import ConfigError
from proxy.net.clock import Clock
from proxy.ops import privileges, standard_error
from proxy.ops.console import import_console
from proxy.ops.handover import receive
from proxy.ops.journal import log, open_journal
from proxy.ops.notify import Notifier
from proxy.ops.process import LoopFactory, hold_standard_descriptors, loop_factory, raise_descriptor_limit, settle
from proxy.ops.service import Launch
from proxy.ops.solo import Solo
from proxy.ops.stores import import_queue, import_store

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
    standard_error.take_over()
    open_journal(launch.loaded.settings.log_level)
    import_store(launch.loaded.settings.duplicates)
    import_console(launch.loaded.settings)
    import_queue(launch.loaded)
    os.umask(privileges.UMASK)
    server = launch.loaded.policy.server
    for warning in raise_descriptor_limit(server.max_connections, server.max_exchanges):
        log.warning("%s", warning)
    factory = loop_factory(os.environ.get(LOOP_VARIABLE, ""))
    if (joined := launch.loaded.settings.dials) is not None:
        _join(joined)
    elif worker_count(launch.loaded.settings.workers) > 1:
        return _supervise(launch, factory)
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


def _join(dials: Dials) -> None:
    from proxy.agent import serve

    asyncio.run(serve.join_all(dials, Clock.wall))


def _supervise(launch: Launch, factory: LoopFactory) -> int:
    from proxy.ops.supervisor import Supervisor

    return Supervisor(launch, factory).run()


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
