"""A run as Markdown: a table for each workload, median (least to most) of its rounds, and the targets."""

from __future__ import annotations

import math
import os
import platform
import re
import statistics
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import proxy
from bench.interpreter import Interpreter
from bench.load import targets
from bench.load.closed import WRK
from bench.load.process import TASKSET
from bench.load.workloads import FIGURES, WORKLOADS
from bench.peers.catalogue import PEERS, interpreter, program

VERSION = re.compile(r"\d+(?:\.\d+)+")
PROGRAMS = {"nginx": ["-v"], "haproxy": ["-v"], "caddy": ["version"], "webhook": ["-version"], "wrk": ["--version"]}
PACKAGES = {"starlette": ("starlette", "uvicorn", "httpx"), "proxy_py": ("proxy.py",)}


def summary(rounds: Sequence[Mapping[str, float]]) -> dict[str, dict[str, float]]:
    """Median, least and most of each figure."""
    found = {}
    for name in rounds[0]:
        values = [one[name] for one in rounds if not math.isnan(one[name])]
        if values:
            found[name] = {"median": statistics.median(values), "min": min(values), "max": max(values)}
    return found


def medians(result: Mapping[str, Any]) -> dict[str, dict[str, dict[str, float]]]:
    """Workload, peer, figure."""
    return {
        workload: {
            peer: {name: figure["median"] for name, figure in one["summary"].items()}
            for peer, one in entry["peers"].items()
            if "summary" in one
        }
        for workload, entry in result["workloads"].items()
    }


def first_version(command: Sequence[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except OSError:
        return ""
    found = VERSION.search(done.stdout + done.stderr)
    return found[0] if found else ""


def machine(python: Interpreter) -> dict[str, Any]:
    """What the numbers depend on; ``python`` is what the peers in Python ran on."""
    cpus = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    model = next((line.partition(":")[2].strip() for line in cpus if line.startswith("model name")), "")
    versions = {name: first_version([program(name), *flags]) for name, flags in PROGRAMS.items()}
    for environment, packages in PACKAGES.items():
        code = f"from importlib.metadata import version; print([version(n) for n in {packages!r}])"
        found = subprocess_lines([str(interpreter(environment)), "-c", code])
        versions |= dict(zip(packages, VERSION.findall(found), strict=False))
    versions |= python.versions
    return {
        "cpu": model or platform.machine(),
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "python": str(python),
        "hookward": proxy.__version__,
        "versions": {name: text for name, text in versions.items() if text},
        "client": "wrk" if WRK else "our own (slower than the proxies: compare CPU, not rates)",
        "taskset": TASKSET is not None,
        "load_average": os.getloadavg()[0],
    }


def subprocess_lines(command: Sequence[str]) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=False).stdout
    except OSError:
        return ""


def table(workload: str, peers: Mapping[str, Any]) -> str:
    """One workload."""
    keys = WORKLOADS[workload].figures
    lines = ["| | " + " | ".join(FIGURES[key].title for key in keys) + " |", "|---" * (len(keys) + 1) + "|"]
    for name, one in peers.items():
        title = PEERS[name].title
        if "summary" not in one:
            lines.append(f"| {title} | {one['left_out']} |" + " |" * (len(keys) - 1))
            continue
        cells = [cell(key, one["summary"].get(key)) for key in keys]
        lines.append(f"| {title} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def cell(key: str, figure: Mapping[str, float] | None) -> str:
    if figure is None:
        return "-"
    shape = FIGURES[key].shape
    median, least, most = (shape.format(figure[name]) for name in ("median", "min", "max"))
    return median if least == most else f"{median} ({least} to {most})"


def markdown(result: Mapping[str, Any]) -> str:
    """The whole report."""
    described = "\n".join(f"- {key}: {value}" for key, value in result["machine"].items())
    parts = [
        f"# Measured on {result['date']}",
        f"    {result['command']}",
        f"Medians (least to most) of the rounds, in turns. How to read them: [README](../README.md).\n\n{described}",
    ]
    for name, entry in result["workloads"].items():
        parts += [f"## {entry['title']}\n\n`{name}`, {entry['rounds']} rounds", table(name, entry["peers"])]
    reached = targets.table(medians(result))
    if reached:
        parts += ["## Targets", reached]
    return "\n\n".join(parts) + "\n"
