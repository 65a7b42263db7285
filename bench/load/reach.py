"""What networks do to a relay and its agent: how soon the dead are noticed, how soon all is well, and what is lost.

Each round breaks something between two hosts (network namespaces, with a link in user space between them) and counts,
from the logs of both ends and by the ledgers of a sender and an application, (1) within how many seconds each end has
noticed, (2) how many seconds after the end of the fault a delivery came through, (3) within how many readiness was red,
and (4) what was told 2xx and is missing. Rounds go side by side, each side on hosts of its own. As root.

    python -m bench.load.reach --rounds 1 --faults black-hole,relay-killed
"""

from __future__ import annotations

import argparse
import json
import math
import queue
import random
import sys
import tempfile
import threading
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from time import monotonic

from bench.load.reach_faults import FAULTS, is_good, number, one_round
from bench.load.reach_stage import Stage
from bench.queue.checker import Findings
from tests.whole.impaired import lacking

FIGURES = ("relay_noticed_s", "agent_noticed_s", "red_s", "works_again_s", "green_s")


class Rounds:
    """Rounds that are to be made, and what came of those that were. ``seconds``: no round begins after that time."""

    def __init__(self, faults: Iterable[str], seconds: float, rate: float) -> None:
        self.found: list[dict[str, object]] = []
        self.findings: list[Findings] = []
        self.failures: list[str] = []
        self._rate = rate
        self._until = monotonic() + seconds
        self._lock = threading.Lock()
        self._left: queue.SimpleQueue[str] = queue.SimpleQueue()
        for fault in faults:
            self._left.put(fault)

    def work(self, side: int) -> None:
        """Make rounds on hosts of our own until none is left."""
        with tempfile.TemporaryDirectory(prefix="reach-") as folder:
            try:
                with Stage(Path(folder), f"-{side}", rate=self._rate, seed=side + 1) as stage:
                    self._rounds(stage)
                    findings = stage.finish()
                with self._lock:
                    self.findings.append(findings)
            except Exception as error:  # noqa: BLE001 - the other sides go on, and it is told at the end
                self.failures.append(f"side {side}: {error!r}")

    def _rounds(self, stage: Stage) -> None:
        while monotonic() < self._until:
            try:
                fault = self._left.get_nowait()
            except queue.Empty:
                return
            found = one_round(stage, fault, FAULTS)
            found["good"] = is_good(found)
            with self._lock:
                self.found.append(found)
                print(json.dumps(found), flush=True)
                if not found["good"]:
                    stage.tell(sys.stderr)


def percentile(values: list[float], share: float) -> float:
    """The value that no more than ``share`` of them are above, by nearest rank."""
    ranked = sorted(values)
    return ranked[max(0, math.ceil(share * len(ranked)) - 1)] if ranked else 0.0


def summary(rounds: Rounds) -> dict[str, object]:
    """All rounds together, and the ledgers of all sides."""
    total: dict[str, object] = {"rounds": len(rounds.found), "bad": sum(not one["good"] for one in rounds.found)}
    for figure in FIGURES:
        values = [number(one, figure) for one in rounds.found if figure in one]
        total[figure] = {
            "p50": percentile(values, 0.5),
            "p99": percentile(values, 0.99),
            "most": max(values, default=0),
        }
    ledgers = [asdict(one) for one in rounds.findings]
    for name in ("sent", "told_2xx", "arrived", "again"):
        total[name] = sum(one[name] for one in ledgers)
    for name in ("missing", "altered", "never_sent", "again_unexplained"):
        total[name] = sum(len(one[name]) for one in ledgers)
    total["failures"] = rounds.failures
    return total


def main() -> int:
    """Break things, and print a line of JSON for each round and one for all."""
    parser = argparse.ArgumentParser(prog="python -m bench.load.reach", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=1, help="how often each fault happens")
    parser.add_argument("--faults", default=",".join(FAULTS), help="which, with commas between them")
    parser.add_argument("--sides", type=int, default=4, help="rounds side by side")
    parser.add_argument("--seconds", type=float, default=math.inf, help="begin no round after this time")
    parser.add_argument("--rate", type=float, default=2.0, help="deliveries per second on each side, meanwhile")
    options = parser.parse_args()
    if lacking():
        print(f"not run: {lacking()}", file=sys.stderr)
        return 1
    faults = options.faults.split(",") * options.rounds
    random.Random(1).shuffle(faults)
    rounds = Rounds(faults, options.seconds, options.rate)
    sides = [
        threading.Thread(target=rounds.work, args=(side,)) for side in range(max(1, min(options.sides, len(faults))))
    ]
    for side in sides:
        side.start()
    for side in sides:
        side.join()
    total = summary(rounds)
    print(json.dumps(total), flush=True)
    lost = [total[name] for name in ("missing", "altered", "never_sent", "again_unexplained", "failures")]
    return 1 if total["bad"] or any(lost) else 0


if __name__ == "__main__":
    sys.exit(main())
