"""Mutation testing of the core: change one small thing at a time, and see whether a test notices.

``python tools/mutants.py [--minutes 30] [core.chunked …]``. It works on a copy in .venv/mutants, so that the tree can
be edited meanwhile, and goes on where the last run ended. Prints what was noticed by module, and each change that
nobody noticed; docs/testing.md says which of those mean nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
COPY = ROOT / ".venv" / "mutants"
COPIED = ("proxy", "tests", "fuzz", "docs", "pyproject.toml", "README.md", "CHANGELOG.md")
#: What decides who is let in, what a message is, and what crosses.
MODULES = (
    *("core/chunked", "core/content", "core/target", "core/tokens", "core/body", "core/exchange", "core/routes"),
    *("core/request_head", "core/response_head", "core/forwarding", "core/signatures"),
    *(f"core/signing/{name}" for name in ("encodings", "evidence", "judge", "mac", "template", "times", "whole")),
)
#: Tests that measure time fail in a mutated process by themselves.
CHOICE = "not costs and not linear"
_RESULT = re.compile(r"^\s*(proxy\S+)__mutmut_(\d+): (.+)$", re.MULTILINE)


def copy() -> None:
    """Bring the copy up to date, and tell the tool what to change and what to ask."""
    for name in COPIED:
        source, place = ROOT / name, COPY / name
        if source.is_dir():
            shutil.copytree(source, place, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(source, place)
    paths = [f"proxy/{module}.py" for module in MODULES]
    with (COPY / "pyproject.toml").open("a") as project:
        project.write(
            f"\n[tool.mutmut]\nsource_paths = {paths}\nalso_copy = {list(COPIED)}\n"
            f'pytest_add_cli_args_test_selection = ["tests/core"]\npytest_add_cli_args = ["-k", "{CHOICE}"]\n'
        )


def mutmut(*arguments: str, minutes: float | None = None) -> str:
    """Run the tool in the copy, for so long at most; what it printed."""
    command = [sys.executable, "-m", "mutmut", *arguments]
    output = subprocess.PIPE if minutes is None else subprocess.DEVNULL
    with subprocess.Popen(command, cwd=COPY, stdout=output, text=True) as process:
        with contextlib.suppress(subprocess.TimeoutExpired):
            printed, _ = process.communicate(timeout=minutes and minutes * 60)
            return printed or ""
        process.terminate()
    return ""


def main() -> int:
    """Run, and print what came of it."""
    parser = argparse.ArgumentParser(prog="python tools/mutants.py")
    parser.add_argument("modules", nargs="*", help="core.chunked and the like; all of them by default")
    parser.add_argument("--minutes", type=float, default=30.0, help="how long at most")
    options = parser.parse_args()
    COPY.mkdir(parents=True, exist_ok=True)
    copy()
    mutmut("run", *(f"proxy.{module}.*" for module in options.modules), minutes=options.minutes)
    results = _RESULT.findall(mutmut("results", "--all", "true"))
    counts: dict[str, Counter[str]] = {}
    for name, _, status in results:
        counts.setdefault(name.rpartition(".")[0], Counter())[status] += 1
    for module, count in sorted(counts.items()):
        print(f"{module:32}", ", ".join(f"{status} {number}" for status, number in count.most_common()))
    for name, number, status in results:
        if status in {"survived", "no tests"}:
            print(f"{status:9} {name}__mutmut_{number}")
    print(f"one of them in full: (cd {COPY.relative_to(ROOT)} && python -m mutmut show NAME)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
