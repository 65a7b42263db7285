"""The table of commands: every module keeps its promise, and a start imports none that it does not need."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import pytest

from proxy.ops.cli import COMMANDS

ROOT = Path(__file__).resolve().parents[2]
#: What a server of one worker without a store has no use for.
NOT_AT_START = {
    "proxy.config.describe",
    "proxy.config.parsers",
    "proxy.core.bpf",
    "proxy.net.feed_fetch",
    "proxy.net.feeds",
    "proxy.net.kernel_filter",
    "proxy.net.duplicates_sqlite",
    "proxy.ops.supervisor",
    "argparse",
    "bz2",
    "difflib",
    "email",
    "encodings.idna",
    "importlib.metadata",
    "importlib.resources",
    "lzma",
    "pkgutil",
    "random",
    "secrets",
    "shutil",
    "sqlite3",
    "tempfile",
}


@pytest.mark.parametrize("name", COMMANDS)
def test_each_has_a_module_that_runs_it_and_a_parser(name: str):
    command = COMMANDS[name]
    assert callable(command.load().main)
    assert isinstance(command.parser(), argparse.ArgumentParser)


def test_a_start_imports_what_it_needs():
    code = """if True:
        import sys
        from proxy.ops import run_command
        from proxy.ops.cli import main
        # What comes next is what is configured.
        run_command.take_over_standard_error = lambda: sys.exit(print(*sys.modules))
        main(["--listen", "127.0.0.1:0", "--upstream", "127.0.0.1:1"])
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    loaded = set(done.stdout.split())
    assert "proxy.ops.run_command" in loaded
    assert loaded & NOT_AT_START == set()
    assert [name for name in loaded if name.startswith("proxy.tools")] == []


def test_a_command_that_serves_nothing_imports_no_catalogue():
    code = "import sys; from proxy.ops.cli import main; main(['version']); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert "proxy.core.schemes" not in done.stdout.split()
