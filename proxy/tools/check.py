"""``check``: load the configuration as ``run`` would, say what it means, and listen nowhere.

Everything is judged that could keep ``run`` from starting: flags, environment, file, secrets, address lists,
certificates, and what this host has (``tools.start``); as the service, where one is installed. So is what is odd though
it works (``tools.lint``), and the deliveries that the configuration names as tests. The exit code is that of ``run``,
so that a deployment can ask before it reloads.
"""

from __future__ import annotations

import argparse
import os
import sqlite3
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from textwrap import fill
from urllib.parse import quote

from proxy.config.describe import describe
from proxy.config.flags import CONFIG_VARIABLE, Words, take_file
from proxy.config.host import ExitCode, Identity, environment, worker_count
from proxy.config.load import load_namespace, load_on_host
from proxy.config.notation import count
from proxy.config.parsers import RunParser, add_run_flags
from proxy.config.problems import RULES, audible, rule_of, unknown_rules
from proxy.config.set_shelf import SetShelf
from proxy.config.settings import Fixture, Loaded, identity_of
from proxy.core.walk import Trip, Walk, walk
from proxy.errors import ConfigError, FlagError, Problem
from proxy.net.beyond_ssl import Served
from proxy.net.clock import Clock
from proxy.net.tls import certificate_notes, load_certificates, read_served
from proxy.net.tls import sentence as of_certificate
from proxy.queue.folder import DATABASE, look_at_ours
from proxy.queue.records import LaneCount, stray_notes
from proxy.tools.explain import peer_of, read_file
from proxy.tools.ip_sets import SetRow, sentence, show_age
from proxy.tools.lint import lint
from proxy.tools.start import check_user, errors_of_ports, problems_with_log, problems_with_stores, problems_with_user
from proxy.tools.units import InstalledUnit, installed_unit
from proxy.values import frozen


@frozen
class FixtureResult:
    """What came of one. ``problem`` None: what was expected."""

    fixture: Fixture
    said: str
    problem: Problem | None = None


def main(argv: Sequence[str]) -> int:
    """Print what the configuration means; takes the flags of ``run``. Raises FlagError, ConfigError and ListenError."""
    parser = build_parser()
    if (text := parser.asked(argv)) is not None:
        print(text + _rules(), end="")
        return ExitCode.OK
    arguments, rest = parser.parse_known_args(list(argv), Words())
    take_file(arguments, rest)
    _check_ids(arguments.silence)
    shelf = SetShelf()
    judged = load_as_service(arguments, shelf, elsewhere=arguments.elsewhere)
    loaded = judged.loaded
    print(describe(loaded, _sets(loaded, shelf)))
    _tell_sets(loaded, shelf)
    now = Clock.wall()
    served = _tell_certificates(loaded, now)
    notes = certificate_notes(served, loaded.policy, loaded.settings, now)
    ports = ([], []) if arguments.elsewhere else errors_of_ports(loaded.settings)
    told = [*loaded.settings.warnings, *lint(loaded, now), *notes, *judged.notes, *ports[1]]
    warnings = audible(told, arguments.silence)
    for warning in warnings:
        print(_shown(warning), file=sys.stderr)
    problems = [*_run_tests(loaded), *judged.problems]
    if problems:
        raise ConfigError(problems)
    if ports[0]:
        raise type(ports[0][0])("\n".join(map(str, ports[0])))
    return ExitCode.CONFIG if warnings and arguments.strict else ExitCode.OK


@frozen
class Judged:
    """A load, and what would keep it from starting."""

    loaded: Loaded
    problems: tuple[Problem, ...] = ()
    notes: tuple[str, ...] = ()  # on what is kept on this host


def load_as_service(arguments: Words, shelf: SetShelf, *, elsewhere: bool) -> Judged:
    """Load as the service would: with the user, the variables and the credentials of the unit that is installed for
    the file, or as the user that the configuration names. ``elsewhere``: as it is written, for another host. Raises
    ConfigError and ListenError.
    """
    environ = environment()
    if elsewhere:
        return Judged(_loaded(arguments, environ, shelf))
    unit, identity = _service(arguments.config or environ.get(CONFIG_VARIABLE))
    with ExitStack() as stack:
        if unit is not None:
            environ = {**unit.environment(), **environ, **stack.enter_context(unit.credentials(identity))}
        if unit is not None and identity is not None:
            print(f"Judged as the user {identity.name}, by {unit.path}.\n")
            stack.enter_context(identity.worn())
        on_host = load_on_host(arguments, environ)
        users = list(problems_with_user(on_host))
        problems = [*users, *problems_with_log(on_host, unit)]
        loaded = _loaded(arguments, environ, shelf, problems)
        if users:
            return Judged(loaded, tuple(problems))
        check_user(loaded.settings)
        named = identity_of(loaded.settings)
        if named is not None and not named.is_ours and worker_count(loaded.settings.workers) == 1:
            # Without a supervisor, a reload reads everything as that user.
            stack.enter_context(named.worn())
            loaded = _loaded(arguments, environ, shelf)
        return Judged(loaded, (*problems, *problems_with_stores(loaded)), tuple(kept_notes(loaded)))


def _service(config: str | None) -> tuple[InstalledUnit | None, Identity | None]:
    """The unit that is installed for a file, and its user, where this process can judge as that one."""
    unit = installed_unit(config) if config else None
    identity = unit.identity if unit is not None else None
    if os.geteuid() == 0:
        return unit, identity
    if identity is not None and not identity.is_ours:
        print(f"note: the service runs as {identity.name}; as root, check judges as it does", file=sys.stderr)
    return None, None


def _loaded(arguments: Words, environ: Mapping[str, str], shelf: SetShelf, problems: Sequence[Problem] = ()) -> Loaded:
    """The load with its certificates; a ConfigError tells of ``problems`` as well."""
    try:
        loaded = load_namespace(arguments, environ, shelf=shelf)
        load_certificates(loaded.settings)
    except ConfigError as error:
        raise ConfigError([*error.problems, *problems]) from None
    return loaded


def build_parser() -> RunParser:
    """The parser of the command."""
    parser = RunParser(
        prog="hookward check",
        usage="hookward check [FILE] [--silence ID] [--strict] [--elsewhere] [flags]",
        description="Say what a configuration means and what is odd about it, and listen nowhere.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        add_help=False,
    )
    add = parser.add_argument
    add("-h", "--help", action="store_true", help="show this, and the rules")
    add("--silence", metavar="ID", action="append", default=[], help="leave out the warnings of a rule")
    add("--strict", action="store_true", help="exit 78 where there is a warning")
    add("--elsewhere", action="store_true", help="for another host: leave out users, folders and ports of this one")
    add_run_flags(parser)
    return parser


def _rules() -> str:
    lines = [fill(rule.what, 80, initial_indent=f"  {rule.id}  ", subsequent_indent=" " * 8) for rule in RULES.values()]
    return "\n".join(["\nrules:", *lines, ""])


def _check_ids(ids: Sequence[str]) -> None:
    if unknown := unknown_rules(ids):
        raise FlagError(Problem("--silence", what, mend) for what, mend in unknown)


def _sets(loaded: Loaded, shelf: SetShelf) -> dict[str, str]:
    """What to say of each published address set beside its name."""
    found = {}
    for (name, query), feed in loaded.sets.used.items():
        copy = shelf.get(feed)
        age = f"of {show_age(Clock.wall() - copy.confirmed)} ago" if copy is not None else "not here yet"
        size = f"{count(len(shelf.select(feed, query)), 'network')}, " if copy is not None else ""
        found[f"{name}?{query}" if query else name] = f"{size}{age}"
    return found


def _tell_sets(loaded: Loaded, shelf: SetShelf) -> None:
    sets = dict.fromkeys(loaded.sets.used.values())
    if sets:
        print("\nPublished address sets:")
    for feed in sets:
        written = [name for (name, _), one in loaded.sets.used.items() if one is feed and name != feed.name]
        alias = f" (set:{', set:'.join(dict.fromkeys(written))})" if written else ""
        told = sentence(SetRow(feed, shelf.get(feed)), Clock.wall())
        print(f"    {told.replace(f'set:{feed.name}', f'set:{feed.name}{alias}', 1)}")


def _tell_certificates(loaded: Loaded, now: float) -> list[Served]:
    served = read_served(loaded.settings)
    if served:
        print("\nCertificates:", *(f"    {of_certificate(one, now)}" for one in served), sep="\n")
    return served


def _run_tests(loaded: Loaded) -> list[Problem]:
    """Run the deliveries that the configuration names, and give what came out otherwise."""
    results = run_fixtures(loaded, Clock.wall())
    if results:
        print("\nTests:")
    for result in results:
        print(f"    {'ok' if result.problem is None else 'FAILED'}  {result.fixture.file}: {result.said}")
    return [result.problem for result in results if result.problem is not None]


def _shown(warning: str) -> str:
    rule = RULES.get(rule_of(warning))
    return f"warning: {warning}" if rule is None else f"warning: {warning} [{rule.id}]\n    {rule.mend}"


def run_fixtures(loaded: Loaded, now: float) -> list[FixtureResult]:
    """The results, in order. ``now`` (seconds since the epoch) is for deliveries that name no time of their own."""
    return [_run(fixture, loaded, now) for fixture in loaded.settings.fixtures]


def _run(fixture: Fixture, loaded: Loaded, now: float) -> FixtureResult:
    try:
        saved = read_file(fixture.file)
    except FlagError as error:
        first = error.problems[0]
        problem = Problem(fixture.where, f"{fixture.file}: {first.what}", first.mend)
        return FixtureResult(fixture, "cannot be read", problem)
    at = fixture.at if fixture.at is not None else saved.at if saved.at is not None else now
    found = walk(Trip(saved.head, saved.body, loaded.policy, at, peer_of(fixture.address)))
    if found.word == fixture.expect:
        return FixtureResult(fixture, f"{found.word}{f' by route {found.route}' if found.route else ''}")
    what = f"{fixture.file}: {found.word}, and {fixture.expect} was expected"
    return FixtureResult(fixture, found.word, Problem(fixture.where, what, _mend(found)))


def _mend(found: Walk) -> str:
    if found.diagnosis is not None:
        return f"{found.diagnosis.word}: {found.diagnosis.sentence}"
    failed = next((step for step in found.steps if step.passed is False), None)
    said = f"it failed at {failed.name}: {failed.said}; " if failed is not None else ""
    return f"{said}`hookward explain FILE -c CONFIG` shows every check"


# -- What ``check`` says of the deliveries that are kept on this host: those whose route keeps no more.


def kept_notes(loaded: Loaded) -> list[str]:
    """The notes on what is kept, where it is the effective user's to see."""
    queue = loaded.settings.queue
    if queue is None or queue.path is None:
        return []
    try:
        look_at_ours(Path(queue.path))
        counts = _counts(Path(queue.path) / DATABASE)
    except (OSError, sqlite3.Error):
        return []  # whether it can be used at all is another's to say
    return list(stray_notes(counts, loaded.policy, loaded.settings.config_path))


def _counts(database: Path) -> list[LaneCount]:
    place = f"file:{quote(str(database.absolute()))}?mode=ro"
    with closing(sqlite3.connect(place, uri=True)) as connection:
        rows = connection.execute("SELECT lane, live, dead FROM lanes ORDER BY lane").fetchall()
    return [LaneCount(lane, live, dead) for lane, live, dead in rows]
