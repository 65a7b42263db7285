"""Newcomers try hookward, each on a clean machine: how long to the first success, what went wrong, what was not told.

    python -m bench.newcomers                     as it is here, with changes that are not committed
    python -m bench.newcomers --rev v0.1.0        as it was then
    python -m bench.newcomers --only buildbot,ipv6

As root, with debootstrap and iproute2; apt and pip must be able to fetch.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from bench.newcomers.machine import HOME, cannot_make, machine, make_base
from bench.newcomers.personas import PERSONAS, Persona
from bench.newcomers.trial import GaveUpError, Report, Trial

ROOT = Path(__file__).resolve().parents[2]


def export(rev: str | None, folder: Path) -> None:
    """What a newcomer would have cloned: the files of a revision, or of this checkout."""
    folder.mkdir()
    if rev is not None:
        archive = subprocess.run(["git", "archive", rev], cwd=ROOT, stdout=subprocess.PIPE, check=True).stdout
        subprocess.run(["tar", "-x", "-C", str(folder)], input=archive, check=True)
        return
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=ROOT, stdout=subprocess.PIPE, check=True).stdout.decode().split("\0")
    for name in filter(None, names):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)


def package(source: Path) -> Path:
    """The Debian package of ``source``."""
    environment = {**os.environ, "PYTHONPATH": str(source)}
    command = [sys.executable, "packaging/deb.py"]
    subprocess.run(
        command, cwd=source, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True
    )
    [found] = (source / "dist").glob("*.deb")
    return found


def attempt(name: str, persona: Persona, base: Path, source: Path, deb: Path | None, number: int) -> Report:
    """One newcomer at a machine of its own."""
    with machine(base, number) as one:
        shutil.copytree(source, one.root / HOME[1:] / "hookward", ignore=shutil.ignore_patterns("dist", "build"))
        if deb is not None:
            shutil.copyfile(deb, one.root / HOME[1:] / "hookward.deb")
        trial = Trial(persona.title, one)
        try:
            persona.act(trial)
        except GaveUpError as error:
            trial.report.stumbles.append(f"{name} gave up: {' '.join(str(error).split())[-400:]}")
        return trial.report


def row(report: Report) -> str:
    """One line of the table."""
    if report.skipped:
        return f"| {report.name} | skipped: {report.skipped} | | | |"
    seconds = "no success" if report.seconds is None else f"{report.seconds:.1f} s"
    told = f"{len(report.told)} of {len(report.told) + len(report.not_told)}"
    return f"| {report.name} | {seconds} | {report.commands} | {len(report.stumbles)} | {told} |"


def main() -> int:
    """Run them, print the table and what is behind it. 1 where one had no success."""
    parser = argparse.ArgumentParser(prog="bench.newcomers", description=__doc__.partition("\n")[0])
    parser.add_argument("--rev", help="which revision of this repository [the files as they are]")
    parser.add_argument("--only", default=",".join(PERSONAS), help=f"some of {','.join(PERSONAS)}")
    parser.add_argument("--suite", default="bookworm", help="the Debian of those that need no other [bookworm]")
    parser.add_argument("--bases", type=Path, help="keep the Debians in this folder, or take them from there")
    parser.add_argument("--json", type=Path, help="write the reports there too")
    arguments = parser.parse_args()
    if os.geteuid() != 0 or shutil.which("debootstrap") is None:
        print("newcomers need root and debootstrap", file=sys.stderr)
        return 77
    # So that what is mounted is unmounted, whatever ends this.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    chosen = {name: PERSONAS[name] for name in arguments.only.split(",")}
    reports: list[Report] = []
    with tempfile.TemporaryDirectory(prefix="hookward-newcomers.") as work:
        source = Path(work) / "hookward"
        export(arguments.rev, source)
        deb = package(source) if "operator" in chosen else None
        for number, (name, persona) in enumerate(chosen.items()):
            suite = persona.suite or arguments.suite
            base = (arguments.bases or Path(work)) / suite
            if why := cannot_make(base, suite):
                reports.append(Report(persona.title, skipped=why))
            else:
                make_base(base, suite)
                reports.append(attempt(name, persona, base, source, deb, number))
            print(row(reports[-1]), flush=True)
            for line in reports[-1].stumbles:
                print(f"    stumbled: {line}")
            for line in reports[-1].not_told:
                print(f"    not told: {line}")
    print("\n| who | to the first success | commands | stumbles | told |\n|---|---|---|---|---|")
    print("\n".join(map(row, reports)))
    if arguments.json:
        arguments.json.write_text(json.dumps([dataclasses.asdict(report) for report in reports], indent=2) + "\n")
    return int(any(report.seconds is None and not report.skipped for report in reports))


if __name__ == "__main__":
    sys.exit(main())
