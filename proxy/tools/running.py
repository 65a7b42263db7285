"""Which running hookward a command means: the sockets of its workers, found by process, by path or by place; what asks
its console; and ``console`` and ``agents``, which ask one thing each.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import sys
import webbrowser
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from proxy.config.host import ExitCode, failed, visible
from proxy.config.load import load_sets
from proxy.config.notation import about_time
from proxy.config.parsers import Parser
from proxy.errors import FlagError, HookwardError
from proxy.net.clock import Clock
from proxy.net.private import GoneError, PrivateEnd, PrivateError, ask, ask_all, find, folders, stream
from proxy.values import frozen

_NAME = re.compile(r"hookward-([0-9]+)-([0-9]+)\.sock")


@frozen
class Running:
    """One process and the sockets of its workers, as they are now."""

    process: int
    places: tuple[str, ...]

    def ends(self) -> list[PrivateEnd]:
        """The sockets of its workers now: workers come and go with each reload."""
        return find(self.places, self.process, everywhere=True)


_FOLLOW = "which process: its PID, or the path of a private socket of it; left out, the only one there is"


def add_process_flags(parser: argparse.ArgumentParser, *, metavar: str = "PID", follow: str = _FOLLOW) -> None:
    """Add the flags that say which process is meant, for ``running_process``."""
    parser.add_argument("--follow", metavar=metavar, help=follow)
    parser.add_argument("--state-dir", metavar="PATH", help="its state_dir, where its private sockets are")
    parser.add_argument("-c", "--config", metavar="PATH", help="its TOML file, which says what its state_dir is")


def _ends(places: list[str], state_dir: str | None, process: int | None) -> list[PrivateEnd]:
    # Where a folder is named, what has its socket there is meant, and not another one beside it.
    return find([state_dir] if state_dir else [], process) or find(places, process, everywhere=True)


def running_process(asked: argparse.Namespace) -> Running:
    """The process that is meant. FlagError: none, or more than one; ConfigError: the file cannot be read."""
    follow: str | None = asked.follow
    state_dir = load_sets(asked.config, asked.state_dir, os.environ).state_dir
    places = folders(state_dir, os.environ)
    if follow is not None and not follow.isdecimal():
        named = _NAME.fullmatch(Path(follow).name)
        if named is None:
            raise FlagError.of("--follow", f"{follow[:80]!r} is no private socket", "name a PID or the socket")
        return Running(int(named[1]), (str(Path(follow).parent), *places))
    ends = _ends(places, state_dir, None if follow is None else int(follow))
    processes = sorted({end.process for end in ends if os.access(end.path, os.R_OK | os.W_OK)})
    if not processes:
        which = "no hookward of yours" if follow is None else f"no hookward with the PID {follow}"
        mend = "start it with state_dir (or as a unit, which has a folder for its sockets), or run this as its user"
        raise FlagError.of("--follow", f"{which} was found that could be asked", mend)
    if len(processes) > 1:
        found = ", ".join(map(str, processes))
        raise FlagError.of("--follow", f"several are running: {found}", f"write --follow {processes[0]}")
    return Running(processes[0], tuple(places))


# -- The console's API of a running process, asked over its private socket, which needs no token. Any worker answers for
# all of them. What is wrong is a ``ConsoleError`` with a sentence for people.

#: The longest that a replay may take to be answered.
REPLAYED_S = 60.0
NOT_FOUND = 404
_NO_CONSOLE = "has no console: add [console] (flag: --console 127.0.0.1:4041)"
_NO_AGENTS = "has no agents: `hookward enrol NAME --config FILE` says how one joins"


class ConsoleError(HookwardError):
    """What the console says is wrong."""


class AskedConsole:
    """The console of one process."""

    def __init__(self, running: Running) -> None:
        self._running = running

    async def deliveries(self, query: str, limit: int) -> list[dict[str, Any]]:
        """Those that match, the newest first (``Summary`` in openapi.json)."""
        found = await self._ask("GET", f"deliveries?{urlencode({'q': query, 'limit': limit})}")
        rows: list[dict[str, Any]] = found["deliveries"]
        return rows

    async def delivery(self, name: str) -> dict[str, Any]:
        """All of one (``Delivery``)."""
        return await self._ask("GET", f"deliveries/{quote(name)}")

    async def replay(self, name: str, how: dict[str, object]) -> dict[str, Any]:
        """Send it again, as ``how`` says (docs/console.md), and tell what came of it."""
        return await self._ask("POST", f"deliveries/{quote(name)}/replay", how, within_s=REPLAYED_S)

    async def coming(self, query: str) -> AsyncGenerator[dict[str, Any], None]:
        """What comes and matches: a ``Summary`` each, and ``{"missed": n}`` where more came than could be told."""
        place = f"/api/v1/stream?{urlencode({'q': query})}"
        rest = b""
        async with aclosing(stream(self._end(), "GET", place)) as pieces:
            try:
                async for piece in pieces:
                    *events, rest = (rest + piece).split(b"\n\n")
                    for event in events:
                        lines = dict(line.split(": ", 1) for line in event.decode("ascii").split("\n") if ": " in line)
                        if lines.get("event") in {"delivery", "gap"}:
                            yield json.loads(lines["data"])
            except PrivateError as error:
                raise self._told(error) from None

    def _end(self) -> PrivateEnd:
        ends = self._running.ends()
        if not ends:
            raise ConsoleError(f"process {self._running.process} is gone")
        return ends[0]

    async def _ask(self, method: str, place: str, *content: dict[str, object], **how: float) -> dict[str, Any]:
        """The answer of the first worker that is there: one that a reload has ended may have left its socket."""
        for end in self._running.ends():
            try:
                found: dict[str, Any] = await ask(end, method, f"/api/v1/{place}", *content, **how)
            except GoneError:
                continue
            except PrivateError as error:
                raise self._told(error) from None
            return found
        raise ConsoleError(f"process {self._running.process} is gone")

    def _told(self, error: PrivateError) -> ConsoleError:
        try:
            wrong = json.loads(str(error))["error"]
        except (ValueError, TypeError, KeyError):
            lacks = f"process {self._running.process} {_NO_CONSOLE}"
            return ConsoleError(lacks if error.status == NOT_FOUND else str(error))
        return ConsoleError(": ".join(str(wrong[key]) for key in ("what", "mend") if wrong.get(key)))


# -- ``console``


class ConsoleLink:
    """``console``: a link that lets a browser into the console of a running hookward, once."""

    def main(self, argv: Sequence[str], /) -> int:
        """Print the link. 0, or 1 where the process has no console."""
        arguments = self.build_parser().parse_args(argv)
        running = running_process(arguments)
        may, scope = ("look", "read") if arguments.read else ("look and act", "act")
        try:
            # One worker makes it; all of them know it.
            [answer] = _answers(running, running.ends()[:1], _NO_CONSOLE, "POST", "/console/link", {"scope": scope})
        except ConsoleError as error:
            return failed("console", error)
        links = _links(answer)
        print(f"This link lets in once, within ten minutes, to {may}:", file=sys.stderr)
        print(*links, sep="\n")
        if arguments.open and links[0].startswith("http"):
            webbrowser.open(links[0])
        return ExitCode.OK

    def build_parser(self) -> Parser:
        """The parser of the command."""
        parser = Parser(
            prog="hookward console",
            description="Print a link that lets a browser into the console of a running hookward, once.",
        )
        add_process_flags(parser)
        parser.add_argument("--read", action="store_true", help="a link that may read and not act")
        parser.add_argument("--open", action="store_true", help="open it in the browser of this host")
        return parser


def _answers(running: Running, ends: list[PrivateEnd], lacking: str, *question: Any) -> list[Any]:
    """What workers of a process answer. ConsoleError where none does; ``lacking`` is what a process without it has."""
    try:
        found = asyncio.run(ask_all(ends, *question))
    except PrivateError as error:
        why = f"process {running.process} {lacking}" if error.status == NOT_FOUND else str(error)
        raise ConsoleError(why) from None
    if not found:
        raise ConsoleError(f"process {running.process} is gone")
    return found


def _links(answer: Any) -> list[str]:
    """A link for each place that the console listens at, which a browser of this host can open; of a unix socket, what
    forwards it.
    """
    here = {"0.0.0.0": "127.0.0.1", "[::]": "localhost"}  # noqa: S104 - compared with
    links = []
    for place in answer["places"]:
        kind, _, name = str(place).partition("://")
        host, _, port = name.rpartition(":")
        link = f"{kind}://{here.get(host, host)}:{port}/enter?link={answer['token']}"
        if name.startswith("unix:"):
            link = f"curl --unix-socket {name.removeprefix('unix:')} http://localhost/api/v1/deliveries"
        links.append(visible(link))
    return links


# -- ``agents``

Row = Mapping[str, Any]


class AgentList:
    """``agents``: which agents are connected to the relay that runs here, since when, from where, and whether alive."""

    def main(self, argv: Sequence[str], /) -> int:
        """Print the agents of all workers. Exit code 1 where no relay runs, or one of its agents is not alive."""
        own = self.build_parser().parse_args(argv)
        running = running_process(own)
        try:
            agents = merged(_answers(running, running.ends(), _NO_AGENTS, "GET", "/agents"))
        except ConsoleError as error:
            return failed("agents", error)
        if own.json:
            print(json.dumps(agents, indent=1))
        else:
            print("\n".join(visible(line) for line in table(agents, Clock.wall())))
        return ExitCode.OK if all(is_alive(one) for one in agents) else ExitCode.FAILED

    def build_parser(self) -> Parser:
        """The parser of the command."""
        parser = Parser(
            prog="hookward agents",
            description="Say which agents are connected to the relay that runs here, and whether a\n"
            "probe of their application came through in the last 15 s. Exit code 1 where\n"
            "one is not alive.",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        add_process_flags(parser)
        parser.add_argument("--json", action="store_true", help="as JSON")
        return parser


def merged(answers: Iterable[Sequence[Row]]) -> list[dict[str, Any]]:
    """What all workers say, as one: of a process, the connections together, and the worst of its probes."""
    agents: dict[str, dict[str, Any]] = {}
    for answer in answers:
        for one in answer:
            agent = agents.setdefault(one["name"], {**one, "processes": {}})
            for process in one["processes"]:
                _add(agent["processes"], process)
    return [{**agent, "processes": list(agent["processes"].values())} for agent in agents.values()]


def _add(processes: dict[str, dict[str, Any]], process: Row) -> None:
    known = processes.get(process["process"])
    if known is None:
        processes[process["process"]] = {**process, "workers": 1}
        return
    ages = [known["probe_age_s"], process["probe_age_s"]]
    known.update(
        since=min(known["since"], process["since"]),
        alive=known["alive"] and process["alive"],
        probe_age_s=None if None in ages else max(ages),
        probe=known["probe"] if known["probe"] == process["probe"] else f"{known['probe']}, {process['probe']}",
        connections=known["connections"] + process["connections"],
        in_use=known["in_use"] + process["in_use"],
        workers=known["workers"] + 1,
    )


def is_alive(agent: Row) -> bool:
    """Whether a process of an agent is."""
    return any(process["alive"] for process in agent["processes"])


def table(agents: Sequence[Row], now: float) -> list[str]:
    """One line for each agent, and one for each of its processes. ``now`` is the time of day."""
    lines = [] if agents else ["no agent is configured"]
    for agent in agents:
        routes = ", ".join(agent["routes"]) or "no route"
        if agent["processes"]:
            state = "alive" if is_alive(agent) else "NOT ALIVE: no probe came through in the last 15 s"
        else:
            state = "away" if agent["joined"] else "has not joined yet"
        lines.append(f"{agent['name']}: {state}; routes {routes}")
        lines += [f"    {_process(process, now)}" for process in agent["processes"]]
    return lines


def _process(process: Row, now: float) -> str:
    age = process["probe_age_s"]
    probe = "no probe yet" if age is None else f"last probe {age:g}s ago"
    said = f" ({process['probe']})" if process["probe"] not in ("", "ok") else ""
    guards = ", guards again" if process["guards"] else ""
    return (
        f"{process['process']} from {process['from']}, for {about_time(now - process['since'])}, {probe}{said}, "
        f"{process['connections']} connections ({process['in_use']} in use){guards}"
    )
