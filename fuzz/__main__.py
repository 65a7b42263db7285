"""``make fuzz``: mutated heads, then every row of the table for its share of the seconds, on all processors.

Exits with 1 and the input, as Python writes bytes, where something was found; with 0 where nothing was, or where
atheris, the fuzzer, cannot be installed. ``--keep`` puts what was learned into the corpus, reduced to what covers more.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from fuzz import heads, kept

ROOT = Path(__file__).resolve().parents[1]
ROWS = sorted(path.stem for path in kept.FOLDER.glob("*.txt"))
DICTIONARY = Path(__file__).with_name("http.dict")
OPTIONS = ("-max_len=4096", "-timeout=20", "-rss_limit_mb=1024", "-print_final_stats=1", f"-dict={DICTIONARY}")
_COVERAGE = re.compile(r"cov: (\d+) ft: (\d+) corp: (\d+)")
_EXECUTED = re.compile(r"stat::number_of_executed_units: *(\d+)")


@dataclass
class Result:
    """What came of one row."""

    name: str
    executions: int
    edges: int
    features: int
    inputs: int
    find: bytes | None
    output: str


def libfuzzer(name: str, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """One run of the fuzzer's own program."""
    command = [sys.executable, "-m", "fuzz.one", name, *arguments]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)


def fuzz(name: str, seconds: int, *, keep: bool) -> Result:
    """Fuzz one row."""
    with tempfile.TemporaryDirectory(prefix="fuzz-") as scratch:
        folder, reduced = Path(scratch, "corpus"), Path(scratch, "reduced")
        folder.mkdir()
        reduced.mkdir()
        kept.unpack(name, folder)
        done = libfuzzer(name, *OPTIONS, f"-max_total_time={seconds}", str(folder), cwd=Path(scratch))
        finds = [
            path.read_bytes() for pattern in ("crash-*", "timeout-*", "oom-*") for path in Path(scratch).glob(pattern)
        ]
        if keep and not finds:
            libfuzzer(name, "-merge=1", f"-max_len={kept.MAX_INPUT}", str(reduced), str(folder), cwd=Path(scratch))
            kept.save(name, kept.pack(reduced) or kept.pack(folder))
    coverage = _COVERAGE.findall(done.stderr) or [("0", "0", "0")]
    executed = _EXECUTED.search(done.stderr)
    edges, features, inputs = map(int, coverage[-1])
    failed = finds[0] if finds else (b"" if done.returncode else None)
    return Result(name, int(executed[1]) if executed else 0, edges, features, inputs, failed, done.stderr)


def main() -> int:
    """Fuzz the rows and print a table."""
    parser = argparse.ArgumentParser(prog="python -m fuzz", description="Fuzz everything that reads bytes of a peer.")
    parser.add_argument("rows", nargs="*", choices=[*ROWS, []], help="which rows; all by default")
    parser.add_argument("--seconds", type=int, default=60, help="how long, by the clock, for all rows together")
    parser.add_argument("--keep", action="store_true", help="keep what was learned in fuzz/corpus")
    parser.add_argument("--heads", type=int, default=1_200_000, help="how many mutated heads are read before that")
    options = parser.parse_args()
    not_alike = heads.main(options.heads) if options.heads else 0
    if find_spec("atheris") is None:
        print("atheris is not installed here: no row was fuzzed. The kept corpus is replayed by the ordinary tests.")
        return not_alike
    rows = options.rows or ROWS
    at_once = os.cpu_count() or 1
    share = max(1, options.seconds * min(at_once, len(rows)) // len(rows))
    print(f"{'row':14} {'seconds':>8} {'executions':>11} {'edges':>6} {'features':>9} {'inputs':>7}")
    with ThreadPoolExecutor(at_once) as pool:
        results = list(pool.map(lambda name: fuzz(name, share, keep=options.keep), rows))
    for one in results:
        print(f"{one.name:14} {share:8} {one.executions:11} {one.edges:6} {one.features:9} {one.inputs:7}")
    for one in results:
        if one.find is not None:
            print(f"\n{one.name} fell over {one.find!r}\n{one.output[-4000:]}")
    return int(not_alike or any(one.find is not None for one in results))


if __name__ == "__main__":
    sys.exit(main())
