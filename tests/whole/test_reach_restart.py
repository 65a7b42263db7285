"""The short form of ``make reach-restart``: two relays behind a real HAProxy and two agents, each restarted."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest

from bench.load import reach_restart
from bench.load.reach_restart import ROOT

needs_haproxy = pytest.mark.skipif(bool(reach_restart.missing()), reason=reach_restart.missing())


@needs_haproxy
@pytest.mark.timeout(240)
def test_restarts_of_relays_and_agents_fail_no_delivery() -> None:
    command = [sys.executable, "-m", "bench.load.reach_restart", "--rate", "20"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, timeout=220)
    assert done.returncode == 0, done.stdout + done.stderr
    assert [line for line in done.stdout.splitlines() if "was restarted" in line] == [
        f"{name} was restarted" for name in ("relay1", "relay2", "agent1", "agent2")
    ]


@needs_haproxy
def test_haproxy_takes_the_recipe_as_it_is() -> None:
    command = [str(shutil.which("haproxy")), "-c", "-f", str(ROOT / "docs" / "fleet" / "relays.cfg")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "warning" not in (done.stdout + done.stderr).lower()
