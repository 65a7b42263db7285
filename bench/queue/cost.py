"""What keeping costs: ``queue`` beside ``direct`` and beside a sync for each delivery, in alternating rounds.

Four hookwards take the same load (wrk, closed loop): ``direct``; ``beside``, which is direct in a process that has a
queue for another route; ``queue``; and ``alone``, a queue whose deliveries share no sync. Each round measures all of
them; the median counts. What a queue took is delivered before the next is measured. Figures of a machine that does
something else as well compare only within one run.

    python -m bench.queue.cost --rounds 5 --seconds 3
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from time import monotonic, sleep

from bench.load.closed import closed_loop
from bench.load.delivery import PATH, SECRET
from bench.load.process import Server, free_port
from bench.load.stage import count

CONNECTIONS = 64
DRAIN_S = 300.0
CONFIG = """
listen = ["127.0.0.1:{port}"]
upstream = "http://127.0.0.1:{origin}"
state_dir = "{folder}/{name}"
[limits]
max_connections_per_address = 100000
[route.github]
path = "{path}"
provider = "github"
secrets = ["file:{folder}/secret"]
deliver = "{deliver}"
{more}
"""
KEEPING = "concurrency = 64"
ELSEWHERE = """
[route.other]
path = "/other"
provider = "github"
secrets = ["file:{folder}/secret"]
deliver = "queue"
"""
#: A hookward whose deliveries each have a transaction, and so a sync, of their own.
ALONE = "import proxy.queue.database as g; g.MAX_BATCH = 1; from proxy.ops.cli import main; raise SystemExit(main())"
KINDS = ("direct", "beside", "queue", "alone")


def start(stack: ExitStack, folder: Path, kind: str, origin: int) -> Server:
    port = free_port()
    deliver, more = ("queue", KEEPING) if kind in {"queue", "alone"} else ("direct", "")
    if kind == "beside":
        more += ELSEWHERE.format(folder=folder)
    config = folder / f"{kind}.toml"
    values = {"port": port, "origin": origin, "folder": folder, "name": kind, "path": PATH}
    config.write_text(CONFIG.format(**values, deliver=deliver, more=more))
    program = ["-c", ALONE] if kind == "alone" else ["-m", "proxy"]
    command = [sys.executable, *program, "--config", str(config)]
    return stack.enter_context(Server(kind, command, port, "0", folder / f"{kind}.log"))


def measure(server: Server, origin: int, seconds: float, folder: Path) -> dict[str, float]:
    """One round; what was taken is delivered when it returns."""
    before, began, used = count(origin), monotonic(), server.usage().cpu_s
    found = closed_loop(server.port, CONNECTIONS, seconds, folder, cores="1")
    if found["refused"] or found["socket_errors"]:
        raise SystemExit(f"{server.name}: {found}\n{server.last_words()}")
    taken = int(found["requests"])
    while count(origin) - before < taken and monotonic() - began < DRAIN_S:
        sleep(0.01)
    whole, cpu = monotonic() - began, server.usage().cpu_s - used
    per_s = taken / (found["duration_us"] / 1e6)
    return {
        "per_s": per_s,
        "delivered_per_s": taken / whole,
        "p99_ms": found["p99_us"] / 1e3,
        "cpu_us": cpu / taken * 1e6,
    }


def run(options: argparse.Namespace, say: Callable[[str], None] = print) -> int:
    """Measure, tell."""
    rounds: dict[str, list[dict[str, float]]] = {kind: [] for kind in KINDS}
    with tempfile.TemporaryDirectory(prefix="hookward-cost-") as name, ExitStack() as stack:
        folder = Path(name)
        (folder / "secret").write_bytes(SECRET)
        (folder / "secret").chmod(0o600)
        origin = free_port()
        command = [sys.executable, "-m", "bench.load.origin", "--port", str(origin)]
        stack.enter_context(Server("origin", command, origin, "1", folder / "origin.log"))
        servers = {kind: start(stack, folder, kind, origin) for kind in KINDS}
        for number in range(options.rounds + 1):
            for kind in KINDS if number % 2 else KINDS[::-1]:
                found = measure(servers[kind], origin, options.seconds if number else 1.0, folder)
                if number:  # the first warms up
                    rounds[kind].append(found)
    table = {
        kind: {key: round(median(one[key] for one in each), 1) for key in each[0]} for kind, each in rounds.items()
    }
    ratios = {
        "queue_to_direct": table["queue"]["per_s"] / table["direct"]["per_s"],
        "queue_to_alone": table["queue"]["per_s"] / table["alone"]["per_s"],
        "beside_to_direct": table["beside"]["per_s"] / table["direct"]["per_s"],
        "beside_to_direct_cpu": table["beside"]["cpu_us"] / table["direct"]["cpu_us"],
    }
    say(json.dumps(table | {name: round(ratio, 3) for name, ratio in ratios.items()}, indent=1))
    return 0


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.queue.cost", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    return run(parser().parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
