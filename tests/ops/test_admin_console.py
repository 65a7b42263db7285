"""The console as a part of a worker: imported where it is configured and nowhere else."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from proxy.ops.admin import _OfWorker, import_console
from tests.config.loading import ENDS, Workplace


@pytest.fixture
def place(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    return Workplace(tmp_path_factory.mktemp("place"))


def test_what_serves_without_it_never_imports_it(place: Workplace) -> None:
    loaded = place.load(f"{ENDS}[route.a]\nopen = true\n")
    assert import_console(loaded.settings) is None
    code = "import sys, proxy.ops.run_command; sys.exit(any('proxy.console' in one for one in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    wing = import_console(place.load(f"{ENDS}[console]\n[route.a]\nopen = true\n").settings)
    assert wing is not None
    assert wing.__name__ == "proxy.console.console"


def test_a_reload_is_the_processes_to_make(monkeypatch: pytest.MonkeyPatch) -> None:
    sent = []
    monkeypatch.setattr(os, "kill", lambda *given: sent.append(given))

    async def describe() -> dict[str, object]:
        return {}

    _OfWorker(describe, 7).reload()
    assert sent == [(7, signal.SIGHUP)]
