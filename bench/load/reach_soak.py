"""An hour of deliveries through a relay and its agent, with one fault a minute, counted by two ledgers.

Deliveries come at a steady rate, half of them to a route that keeps. At the end nothing that was told 2xx may be
missing, and what was kept must have arrived. As root.

    python -m bench.load.reach_soak --minutes 60 --rate 20
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
from dataclasses import asdict, replace
from pathlib import Path
from time import monotonic, sleep

from bench.load.reach_faults import FAULTS, is_good, one_round
from bench.load.reach_stage import Stage
from tests.whole.impaired import lacking

MINUTE_S = 60.0
#: A process stands still for so long: within the minute all must be well again.
STOPPED_S = 25.0


def main() -> int:
    """Break something each minute, and print a line of JSON for it and one for the ledgers."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.load.reach_soak", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--minutes", type=int, default=60)
    parser.add_argument("--rate", type=float, default=20.0, help="deliveries per second")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    if lacking():
        print(f"not run: {lacking()}", file=sys.stderr)
        return 1
    faults = {name: replace(one, lasts_s=min(one.lasts_s, STOPPED_S)) for name, one in FAULTS.items()}
    generator = random.Random(options.seed)
    order: list[str] = []
    bad = 0
    with (
        tempfile.TemporaryDirectory(prefix="reach-soak-") as folder,
        Stage(Path(folder), "-s", rate=options.rate, seed=options.seed) as stage,
    ):
        for _ in range(options.minutes):
            begun = monotonic()
            if not order:  # each of them before any comes again
                order = generator.sample(sorted(faults), len(faults))
            found = one_round(stage, order.pop(), faults)
            found["good"] = is_good(found)
            bad += not found["good"]
            print(json.dumps(found), flush=True)
            if not found["good"]:
                stage.tell(sys.stderr)
            sleep(max(0.0, begun + MINUTE_S - monotonic()))
        findings = stage.finish()
    told = asdict(findings)
    total = {name: len(value) if isinstance(value, list) else value for name, value in told.items()}
    print(json.dumps({"minutes": options.minutes, "bad": bad, **total}), flush=True)
    return 1 if bad or findings.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
