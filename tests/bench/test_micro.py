"""The measurements of single modules still run, each of them quickly. Their figures mean nothing here."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.whole.process import environment

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted(path.stem for path in (ROOT / "bench" / "micro").glob("*.py") if path.stem != "timing")
FIGURE = re.compile(r"\b[0-9]+(?:\.[0-9]+)?\b")


def test_every_hot_module_has_one() -> None:
    hot = {"accept", "access_log", "addresses", "body", "chunked", "duplicates", "exchange", "forwarding", "heads"}
    assert hot <= set(FILES)


@pytest.mark.parametrize("name", FILES)
def test_it_runs(name: str) -> None:
    command = [sys.executable, "-m", f"bench.micro.{name}", "--quick"]
    done = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=50, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert FIGURE.search(done.stdout)
