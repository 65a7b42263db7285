"""Mutation testing of the core: change one small thing at a time, and see whether a test notices.

``python scripts/mutants.py [--minutes 30] [--again] [core.content …]``. Each module is worked on in a copy of its own
below .venv/mutants, so that the tree can be edited meanwhile, and goes on where the last run ended. A module is asked
of its mirror test, of those that import it and, where it signs, of its neighbours': what they do not notice is a
survivor, though a test of the whole process may know it. Prints what was noticed by module, and each change that went
unnoticed; docs/testing.md says which of those mean nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import shutil
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PLACE = ROOT / ".venv" / "mutants"
COPIED = ("proxy", "tests", "fuzz", "docs", "pyproject.toml", "README.md", "CHANGELOG.md")
#: What decides who is let in, what a message is, and what crosses. The small ones come first.
MODULES = (
    *("content", "policy", "states", "budget", "signing/proof"),
    *("record", "grammar", "metrics"),
    *("proxy_protocol", "addresses", "body", "delivery", "recurring", "handshakes"),
    *("signing/scheme", "signing/evidence", "signing/mac", "signing/template"),
    *("signing/parsed", "signing/documents"),
    *("pubkey", "ip_sets", "bpf", "schemes/provider"),
    *("request_head", "response_head", "forwarding", "exchange"),
)
#: Tests that measure time fail in a mutated process by themselves; those that start another one learn nothing there.
CHOICE = "not costs and not linear and not extras and not secret_does_not_show and not sender_writes_raises"
ARGUMENTS = ["-k", CHOICE, *("-p", "no:cacheprovider"), *("-p", "no:xdist"), *("-p", "no:anyio")]
#: A change is noticed by few examples or by none, and a counterexample need not be small.
PROFILE = """
from hypothesis import Phase

settings.register_profile(
    "mutants", settings.get_profile("house"), max_examples=20, derandomize=True, phases=[Phase.explicit, Phase.generate]
)
settings.load_profile("mutants")
"""
#: Names of codecs and digests, which mean the same in capitals.
_CODECS = re.compile(r"\"(?:ascii|utf-8|utf-8-sig|utf-16-be|latin-1|sha256)\"", re.IGNORECASE)
#: What only holds us to our own word: that two lists are equally long.
_STRICT = re.compile(r", (?:strict=\w+)?\)")
_RAISES = ("raise ValueError(", "raise TypeError(", "raise FeedError(")
_RESULT = re.compile(r"^\s*(proxy\S+)__mutmut_(\d+): (.+)$", re.MULTILINE)


def tests_of(module: str) -> list[str]:
    """The test files that a module is asked of."""
    name = module.replace("/", ".")
    folder, _, last = name.rpartition(".")
    package = "proxy.core" + (f".{folder}" if folder else "")
    imports = re.compile(rf"from {package}\.{last} import|from {package} import [^\n]*\b{last}\b")
    chosen = {path for path in (ROOT / "tests" / "core").rglob("test_*.py") if imports.search(path.read_text())}
    chosen.add(ROOT / "tests" / "core" / folder / f"test_{last}.py")
    if folder == "signing" or last == "pubkey":
        chosen.update((ROOT / "tests" / "core" / "signing").glob("test_*.py"))
        chosen.add(ROOT / "tests" / "core" / "test_signatures.py")
    return sorted(str(path.relative_to(ROOT)) for path in chosen if path.exists())


def copy(module: str, place: Path) -> None:
    """Bring the copy up to date, and tell the tool what to change and what to ask."""
    place.mkdir(parents=True, exist_ok=True)
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            leave = shutil.ignore_patterns("__pycache__", "corpus")
            shutil.copytree(source, place / name, dirs_exist_ok=True, ignore=leave)
        else:
            shutil.copy2(source, place / name)
    with (place / "tests" / "conftest.py").open("a") as shared:
        shared.write(PROFILE)
    with (place / "pyproject.toml").open("a") as project:
        project.write(
            f'\n[tool.mutmut]\nsource_paths = ["proxy/core/{module}.py"]\nalso_copy = {list(COPIED)}\n'
            f"pytest_add_cli_args_test_selection = {tests_of(module)}\n"
            f"pytest_add_cli_args = {ARGUMENTS}\nuse_git_change_detection = false\n"
        )


def mutmut(place: Path, *arguments: str, seconds: float | None = None) -> str:
    """Run the tool in a copy, for so long at most; what it printed."""
    command = [sys.executable, "-m", "mutmut", *arguments]
    output = subprocess.PIPE if seconds is None else (place / "mutmut.log").open("w")
    with subprocess.Popen(command, cwd=place, stdout=output, stderr=subprocess.STDOUT, text=True) as process:
        with contextlib.suppress(subprocess.TimeoutExpired):
            printed, _ = process.communicate(timeout=seconds)
            return printed or ""
        process.terminate()
    return ""


def is_left(status: str) -> bool:
    """Whether a change has gone unnoticed."""
    return status not in {"killed", "timeout", "not checked", "of words"}


def says_the_same(place: Path, mutant: str) -> bool:
    """Whether a change is one of words alone: the case of a codec's name, the text of an error that is not shown, or
    ``strict`` of ``zip``.
    """
    lines = mutmut(place, "show", mutant).splitlines()
    gone = [line[1:] for line in lines if line.startswith("-") and not line.startswith("---")]
    come = [line[1:] for line in lines if line.startswith("+") and not line.startswith("+++")]
    if len(gone) != 1 or len(come) != 1:
        return False
    before, after = (_STRICT.sub(")", _CODECS.sub(lambda found: found[0].lower(), line)) for line in (gone[0], come[0]))
    return before == after or before.lstrip().startswith(_RAISES)


def results_of(place: Path) -> list[tuple[str, str]]:
    """The mutants of a module, and what became of each."""
    found = _RESULT.findall(mutmut(place, "results", "--all", "true"))
    return [(f"{name}__mutmut_{number}", status) for name, number, status in found]


def told(module: str, place: Path) -> None:
    """Print what came of a module."""
    results = [
        (name, "of words" if is_left(status) and says_the_same(place, name) else status)
        for name, status in results_of(place)
    ]
    count = Counter(status for _, status in results)
    print(f"{module:20} {len(results):4}:", ", ".join(f"{status} {number}" for status, number in count.most_common()))
    for name, status in results:
        if is_left(status):
            print(f"  {status:9} {name}")
    sys.stdout.flush()


def main() -> int:
    """Run, and print what came of it."""
    parser = argparse.ArgumentParser(prog="python scripts/mutants.py")
    parser.add_argument("modules", nargs="*", help="core.content and the like; all of them by default")
    parser.add_argument("--minutes", type=float, default=30.0, help="how long at most")
    parser.add_argument("--again", action="store_true", help="try again only those that went unnoticed")
    parser.add_argument("--processes", type=int, default=2, help="how many at once")
    options = parser.parse_args()
    os.nice(19)
    end = time.monotonic() + options.minutes * 60
    chosen = [name.removeprefix("core.").replace(".", "/") for name in options.modules] or MODULES
    for module in chosen:
        place = PLACE / module.replace("/", ".")
        copy(module, place)
        left = end - time.monotonic()
        which = [name for name, status in results_of(place) if is_left(status)] if options.again else []
        if left > 0 and (which or not options.again):
            mutmut(place, "run", "--max-children", str(options.processes), *which, seconds=left)
        told(module, place)
    print(f"one of them in full: (cd {PLACE.relative_to(ROOT)}/MODULE && python -m mutmut show NAME)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
