"""``agents``: which agents are connected to the relay that runs here, since when, from where, and whether they live."""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from proxy.config.host import ExitCode, failed, visible
from proxy.config.parsers import Parser
from proxy.config.sizes import about_time
from proxy.net.clock import Clock
from proxy.net.private import PrivateError, ask_all
from proxy.tools.running import add_process_flags, running_process

Row = Mapping[str, Any]


def main(argv: Sequence[str]) -> int:
    """Print the agents of all workers. Exit code 1 where no relay runs, or one of its agents is not alive."""
    own = build_parser().parse_args(argv)
    running = running_process(own)
    try:
        answers = asyncio.run(ask_all(running.ends(), "GET", "/agents"))
    except PrivateError as error:
        if error.status != 404:
            return failed("agents", error)
        why = f"process {running.process} has no agents: `hookward enrol NAME --config FILE` says how one joins"
        return failed("agents", why)
    if not answers:
        return failed("agents", f"process {running.process} is gone")
    agents = merged(answers)
    if own.json:
        print(json.dumps(agents, indent=1))
    else:
        print("\n".join(visible(line) for line in table(agents, Clock.wall())))
    return ExitCode.OK if all(is_alive(one) for one in agents) else ExitCode.FAILED


def build_parser() -> Parser:
    """The parser of the command."""
    parser = Parser(
        prog="hookward agents",
        description="Say which agents are connected to the relay that runs here, and whether a\n"
        "probe of their application came through in the last 15 s. Exit code 1 where\n"
        "one is not alive.",
    )
    add_process_flags(parser)
    parser.add_argument("--json", action="store_true", help="as JSON")
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
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
