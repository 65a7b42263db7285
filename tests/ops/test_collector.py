"""The collector's setting, tried in a process of its own because it holds for the whole process."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import gc
from proxy.ops.collector import YOUNG, paused, settle
with paused():
    assert not gc.isenabled()
    made = [[] for _ in range(1000)]
assert gc.isenabled() and gc.get_freeze_count() > 1000
settle()
assert gc.isenabled() and gc.get_threshold()[0] == YOUNG and gc.get_freeze_count() > 1000
print("settled")
"""


def test_it_rests_during_imports_then_looks_seldom_and_not_at_what_stays():
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    assert done.stdout == "settled\n"
