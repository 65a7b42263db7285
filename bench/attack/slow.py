"""Debian's slowhttptest against hookward: slow heads, slow bodies, slow readers; genuine deliveries go on meanwhile."""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from collections.abc import Sequence
from time import monotonic, sleep

from bench.attack.stage import OTHER_CORE, Stage, pinned, staged

#: slowhttptest comes from one address; the rest is as a user has it.
LIMITS = "max_connections_per_address = 2000"
MODES = {
    "slow heads (slowloris)": ["-H", "-i", "2", "-x", "24"],
    "slow bodies (R-U-Dead-Yet)": ["-B", "-i", "2", "-s", "8192", "-x", "10", "-t", "POST"],
    "slow readers": ["-X", "-w", "1", "-y", "10", "-n", "2", "-z", "8", "-k", "3"],
}
CONNECTIONS = 1000


def run(stage: Stage, tool: str, flags: Sequence[str], seconds: int) -> tuple[int, int, float]:
    """One mode; how many genuine deliveries of how many passed, and the slowest in seconds."""
    common = ["-c", str(CONNECTIONS), "-r", "200", "-l", str(seconds), "-p", "3"]
    url = f"http://127.0.0.1:{stage.port}/hooks/guest"
    command = pinned([tool, *flags, *common, "-u", url], OTHER_CORE)
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    sent = passed = 0
    slowest = 0.0
    end = monotonic() + seconds + 5
    try:
        while process.poll() is None and monotonic() < end:
            started = monotonic()
            passed += stage.deliver() == 200
            slowest = max(slowest, monotonic() - started)
            sent += 1
            sleep(0.1)
    finally:
        process.kill()
        process.wait()
    return passed, sent, slowest


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.attack.slow", description=__doc__)
    parser.add_argument("--seconds", type=int, default=15, help="for each mode")
    options = parser.parse_args(argv)
    tool = shutil.which("slowhttptest")
    if tool is None:
        print("slowhttptest is not installed (apt-get install slowhttptest)")
        return 1
    good = True
    with staged(LIMITS) as stage:
        for name, flags in MODES.items():
            passed, sent, slowest = run(stage, tool, flags, options.seconds)
            print(
                f"{name:28} genuine {passed}/{sent}, slowest {slowest * 1000:.0f} ms, "
                f"peak RSS {stage.guard.peak_mib:.1f} MiB"
            )
            good = good and passed == sent > 0
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
