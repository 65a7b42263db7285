"""Requests per second, CPU and memory of hookward and its peers, under the same load, measured in turns.

Before anything is measured each peer shows that it does the work: a genuine delivery gets 200 and reaches the origin, a
forged one gets 403 and does not.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import platform
import shlex
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import proxy
from bench.load import workload
from bench.load.client import WRK, load
from bench.load.process import TASKSET, Server, free_port

RESULTS = Path(__file__).resolve().parents[1] / "results"
PROXY_CORE, LOAD_CORE = 0, 1


@dataclass(frozen=True)
class Peer:
    """One program to measure: how it is started with (port, origin's port, secret file)."""

    name: str
    command: Callable[[int, int, Path], list[str]]


def hookward(port: int, origin: int, secret: Path, *extra: str) -> list[str]:
    flags = ["--listen", f"127.0.0.1:{port}", "--upstream", f"127.0.0.1:{origin}", "--path", "/hooks"]
    return [sys.executable, "-m", "proxy", *flags, "--provider", "github", "--secret-file", str(secret), *extra]


def aiohttp(port: int, origin: int, secret: Path) -> list[str]:
    flags = ["--port", str(port), "--upstream", f"http://127.0.0.1:{origin}", "--secret-file", str(secret)]
    return [sys.executable, "-m", "bench.peers.aiohttp_hmac", *flags]


PEERS = [
    Peer("hookward", hookward),
    Peer("aiohttp", aiohttp),
]


def post(port: int, content: bytes, secret: bytes) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    with contextlib.closing(connection):
        connection.request("POST", "/hooks/github", content, workload.fields(content, secret=secret))
        answer = connection.getresponse()
        answer.read()
        return answer.status


def count(origin: int) -> int:
    """How many complete requests the origin has had."""
    connection = http.client.HTTPConnection("127.0.0.1", origin, timeout=10)
    with contextlib.closing(connection):
        connection.request("GET", "/count")
        return int(connection.getresponse().read().split()[0])


def check(server: Server, origin: int) -> None:
    """A peer that does not guard is not measured."""
    content = workload.body()
    before = count(origin)
    genuine = post(server.port, content, workload.SECRET)
    forged = post(server.port, content, b"guess")
    reached = count(origin) - before
    if (genuine, forged, reached) != (200, 403, 1):
        raise SystemExit(f"{server.name}: genuine {genuine}, forged {forged}, {reached} of 1 at the origin")


def measure(server: Server, options: argparse.Namespace, folder: Path) -> dict[str, float]:
    """One round of one peer."""
    before = server.usage()
    figures = load(server.port, options.connections, options.seconds, LOAD_CORE, folder)
    after = server.usage()
    if figures["bad"] or figures["socket_errors"]:
        raise SystemExit(f"{server.name}: errors under load: {figures}")
    requests = figures["requests"]
    return {
        "requests_per_s": requests / (figures["duration_us"] / 1e6),
        "cpu_s_per_1000": (after.cpu_s - before.cpu_s) / requests * 1000,
        "p50_ms": figures["p50_us"] / 1000,
        "p99_ms": figures["p99_us"] / 1000,
        "p999_ms": figures["p999_us"] / 1000,
        "peak_rss_mib": after.peak_rss_bytes / 2**20,
    }


def summary(rounds: list[dict[str, float]]) -> dict[str, dict[str, float]]:
    """Median, least and most of each figure."""
    return {
        name: {
            "median": statistics.median(one[name] for one in rounds),
            "min": min(one[name] for one in rounds),
            "max": max(one[name] for one in rounds),
        }
        for name in rounds[0]
    }


def machine() -> dict[str, Any]:
    """What the numbers depend on."""
    cpus = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    model = next((line.partition(":")[2].strip() for line in cpus if line.startswith("model name")), "")
    return {
        "cpu": model or platform.machine(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "hookward": proxy.__version__,
        "packages": {name: version(name) for name in ("h11", "uvloop", "aiohttp")},
        "client": "wrk" if WRK else "bench.load.client (slower than the proxies: compare CPU, not rates)",
        "pinned": TASKSET is not None,
    }


COLUMNS = {
    "requests_per_s": ("requests/s", "{:,.0f}"),
    "cpu_s_per_1000": ("CPU s per 1000", "{:.3f}"),
    "p50_ms": ("p50 ms", "{:.2f}"),
    "p99_ms": ("p99 ms", "{:.2f}"),
    "p999_ms": ("p99.9 ms", "{:.2f}"),
    "peak_rss_mib": ("peak RSS MiB", "{:.0f}"),
}


def table(peers: dict[str, dict[str, dict[str, float]]]) -> str:
    """The Markdown table: median (min to max)."""
    lines = ["| | " + " | ".join(title for title, _ in COLUMNS.values()) + " |", "|---" * (len(COLUMNS) + 1) + "|"]
    for name, figures in peers.items():
        cells = [
            f"{shape.format(figures[key]['median'])} ({shape.format(figures[key]['min'])} to "
            f"{shape.format(figures[key]['max'])})"
            for key, (_, shape) in COLUMNS.items()
        ]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def run(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Start everything, check, warm up, measure in turns."""
    secret = folder / "secret"
    secret.write_bytes(workload.SECRET)
    origin_port = free_port()
    origin = [sys.executable, "-m", "bench.load.origin", "--port", str(origin_port)]
    chosen = [peer for peer in PEERS if not options.peers or peer.name in options.peers]
    rounds: dict[str, list[dict[str, float]]] = {peer.name: [] for peer in chosen}
    with contextlib.ExitStack() as stack:
        stack.enter_context(Server("origin", origin, origin_port, LOAD_CORE, folder / "origin.log"))
        servers = []
        for peer in chosen:
            port = free_port()
            command = peer.command(port, origin_port, secret)
            servers.append(stack.enter_context(Server(peer.name, command, port, PROXY_CORE, folder / f"{port}.log")))
        for server in servers:
            check(server, origin_port)
        for server in servers:
            load(server.port, options.connections, 1, LOAD_CORE, folder)
        for number in range(options.rounds):
            for server in servers if number % 2 == 0 else servers[::-1]:
                rounds[server.name].append(measure(server, options, folder))
                print(
                    f"round {number + 1} {server.name}: {rounds[server.name][-1]['requests_per_s']:,.0f}/s",
                    file=sys.stderr,
                )
    return {name: {"summary": summary(figures), "rounds": figures} for name, figures in rounds.items()}


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.load", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5.0, help="length of one round of one peer")
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--peers", nargs="*", metavar="NAME", help=f"of {', '.join(peer.name for peer in PEERS)}")
    parser.add_argument("--save", action="store_true", help="write bench/results/DATE-load.{json,md}")
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        peers = run(options, Path(folder))
    arguments = shlex.join(sys.argv[1:] if argv is None else argv)
    connections = f"{options.connections} connections"
    result = {
        "date": datetime.now(tz=UTC).date().isoformat(),
        "command": f"python -m bench.load {arguments}".strip(),
        "workload": f"GitHub push, {workload.SIZE} bytes, 14 fields, signed, keep-alive, {connections}",
        "machine": machine(),
        "peers": peers,
    }
    text = table({name: figures["summary"] for name, figures in peers.items()})
    print(f"{result['workload']}; median (min to max) of {options.rounds} rounds of {options.seconds:g} s\n\n{text}")
    if options.save:
        save(result, text)


def save(result: dict[str, Any], text: str) -> None:
    """Keep a run: the figures as JSON, the table as Markdown."""
    RESULTS.mkdir(exist_ok=True)
    base = RESULTS / f"{result['date']}-load"
    base.with_suffix(".json").write_text(json.dumps(result, indent=1) + "\n")
    described = "\n".join(f"- {key}: {value}" for key, value in result["machine"].items())
    title = f"# {result['workload']}\n\n`{result['command']}` on {result['date']}\n\n{described}\n\n"
    base.with_suffix(".md").write_text(title + text + "\n")
    print(f"\nwritten: {base}.json, {base}.md", file=sys.stderr)
