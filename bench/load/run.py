"""hookward beside its peers, under the same loads, measured in turns: ``python -m bench.load --help``.

Before a workload is measured each peer shows that it does the work: a genuine delivery is answered 200 and reaches the
origin, a forged one is refused and does not. Who is missing, fails or cannot is left out, and the table says why.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import resource
import shlex
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any

from bench.interpreter import Interpreter, UnfitError, usual
from bench.load.chart import chart
from bench.load.process import FailedError
from bench.load.report import machine, markdown, summary, table
from bench.load.stage import LOAD_CORE, Scale, Stage, stage
from bench.load.workloads import WORKLOADS, Figures, Workload
from bench.peers.catalogue import PEERS, Peer

RESULTS = Path(__file__).resolve().parents[1] / "results"
OURS = "hookward"
FAILURES = (FailedError, OSError, ValueError)


@dataclass
class Score:
    """One peer in one workload."""

    rounds: list[Figures] = field(default_factory=list)
    left_out: str = ""

    def as_json(self) -> dict[str, Any]:
        if self.left_out or not self.rounds:
            return {"left_out": self.left_out or "the time was over"}
        rounds = [{key: value for key, value in one.items() if not math.isnan(value)} for one in self.rounds]
        return {"summary": summary(self.rounds), "rounds": rounds}


def cast(workload: Workload, options: argparse.Namespace) -> list[Peer]:
    """Who takes part: those chosen, else the main ones, and all where the workload is for everyone."""
    if options.peers:
        chosen = [PEERS[name] for name in options.peers]
    else:
        chosen = [peer for peer in PEERS.values() if peer.main or workload.everyone or options.everyone]
    return [peer for peer in chosen if not peer.only_in or workload.name in peer.only_in]


def play(workload: Workload, on: Stage, options: argparse.Namespace, deadline: float) -> dict[str, Score]:
    """All rounds of one workload."""
    scores = {peer.name: Score(left_out=peer.missing() or workload.excludes(peer)) for peer in cast(workload, options)}
    able = [PEERS[name] for name, score in scores.items() if not score.left_out]
    with contextlib.ExitStack() as stack:
        turns: list[tuple[Score, str, Callable[[], Figures]]] = []
        for peer in able:
            score = scores[peer.name]
            if workload.fresh:
                turns.append((score, peer.name, partial(workload.measure, on, peer)))
                continue
            try:
                server = stack.enter_context(on.running(peer, tls=workload.tls))
                workload.proof(on, peer, server)
            except FAILURES as error:
                score.left_out = f"failed: {error}"
                continue
            turns.append((score, peer.name, partial(workload.measure, on, peer, server)))
        for number in range(min(options.rounds, workload.max_rounds)):
            for score, name, measure in turns if number % 2 == 0 else turns[::-1]:
                if not score.left_out and monotonic() < deadline:
                    turn(score, name, measure)
    return scores


def turn(score: Score, name: str, measure: Callable[[], Figures]) -> None:
    """One round of one peer."""
    try:
        score.rounds.append(measure())
    except FAILURES as error:
        score.left_out = f"failed: {error}"
        print(f"  {name}: {score.left_out}", file=sys.stderr)


def run(options: argparse.Namespace, python: Interpreter, folder: Path) -> dict[str, Any]:
    """All workloads; what ends up in the JSON file under ``workloads``."""
    scale = Scale(
        folder=folder,
        seconds=options.seconds,
        large_bytes=int(options.large * (1 << 20)),
        idle_connections=options.idle,
        own_client=options.own_client,
        pinned=not options.no_pin and (os.cpu_count() or 1) > 1,
        python=python.path,
    )
    deadline = monotonic() + options.minutes * 60
    found: dict[str, Any] = {}
    with stage(scale) as on:
        for name in options.workloads:
            workload = WORKLOADS[name]
            started = monotonic()
            scores = play(workload, on, options, deadline)
            peers = {peer: score.as_json() for peer, score in scores.items()}
            rounds = max((len(score.rounds) for score in scores.values()), default=0)
            found[name] = {"title": workload.title, "rounds": rounds, "peers": peers}
            print(f"## {workload.title} ({name}, {monotonic() - started:.0f} s)\n\n{table(name, peers)}\n", flush=True)
    return found


def names(known: Sequence[str]) -> Callable[[str], list[str]]:
    """A list with commas, each one of those known."""

    def read(text: str) -> list[str]:
        chosen = [name for name in text.split(",") if name]
        unknown = [name for name in chosen if name not in known]
        if unknown:
            raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: not one of {', '.join(known)}")
        return chosen

    return read


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.load", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--workloads", type=names(list(WORKLOADS)), default=list(WORKLOADS), metavar="A,B")
    parser.add_argument("--peers", type=names(list(PEERS)), metavar="A,B", help="default: the main ones")
    parser.add_argument("--everyone", action="store_true", help="all peers in every workload")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--seconds", type=float, default=1.0, help="of one round of one peer; wrk knows whole ones only"
    )
    parser.add_argument("--minutes", type=float, default=20.0, help="of the whole run; what is left then is left out")
    parser.add_argument("--large", type=float, default=25.0, metavar="MIB", help="size of the large deliveries")
    parser.add_argument("--idle", type=int, default=5000, metavar="N", help="idle connections")
    parser.add_argument("--python", type=Path, default=usual(), help="of hookward, aiohttp, floor; else %(default)s")
    parser.add_argument("--own-client", action="store_true", help="not wrk, though it is there")
    parser.add_argument("--no-pin", action="store_true", help="leave the choice of cores to the kernel")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the results")
    parser.add_argument("--name", help="of the results; default: the date for a full run, else last")
    parser.add_argument("--list", action="store_true", help="the workloads and peers, and who is installed")
    return parser.parse_args(argv)


def listing() -> str:
    lines = ["workloads:", *(f"  {name:16} {workload.title}" for name, workload in WORKLOADS.items()), "peers:"]
    lines += [f"  {name:16} {peer.title}{missing(peer)}" for name, peer in PEERS.items()]
    return "\n".join(lines)


def missing(peer: Peer) -> str:
    return f" ({peer.missing()})" if peer.missing() else ""


def main(argv: Sequence[str] | None = None) -> int:
    options = arguments(argv)
    if options.list:
        print(listing())
        return 0
    try:
        python = Interpreter(options.python)
    except UnfitError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2
    print(f"Python: {python}\n", flush=True)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if not options.no_pin and (os.cpu_count() or 1) > 1:
        os.sched_setaffinity(0, {int(LOAD_CORE)})  # the clients that are not wrk run in this process
    with tempfile.TemporaryDirectory() as folder:
        workloads = run(options, python, Path(folder))
    full = options.peers is None and len(options.workloads) == len(WORKLOADS)
    name = options.name or (datetime.now(tz=UTC).date().isoformat() if full else "last")
    save(options, python, workloads, name, argv)
    ours = [entry["peers"][OURS] for entry in workloads.values() if OURS in entry["peers"]]
    return int(any(one.get("left_out", "").startswith("failed") for one in ours))


def save(
    options: argparse.Namespace, python: Interpreter, workloads: dict[str, Any], name: str, argv: Sequence[str] | None
) -> None:
    """The figures as JSON, the tables as Markdown, the headlines as a chart."""
    chosen = shlex.join(sys.argv[1:] if argv is None else argv)
    result = {
        "date": datetime.now(tz=UTC).date().isoformat(),
        "command": f"make bench ARGS={shlex.quote(chosen)}" if chosen else "make bench",
        "machine": machine(python),
        "workloads": workloads,
    }
    options.out.mkdir(parents=True, exist_ok=True)
    written = {".json": json.dumps(result, indent=1) + "\n", ".md": markdown(result), ".svg": chart(result)}
    for suffix, content in written.items():
        (options.out / f"{name}{suffix}").write_text(content)
    print(f"written: {options.out / name}.json, .md, .svg", file=sys.stderr)
