"""Ask pip-audit whether a published hole is in what hookward needs at run time, at both ends of each bound.

Ends with 1 where there is one. Where no database of holes can be reached it says so and ends with 0: a check that fails
without a network would be switched off by whoever has none.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import venv
from importlib.metadata import version
from pathlib import Path

from lowest import lower_bounds

HOME = Path(__file__).resolve().parents[1] / ".venv" / "audit"
PATIENCE_S = 120


def pip_audit() -> Path | None:
    """pip-audit in an environment of its own, so that its many packages are not in that of the tests."""
    tool = HOME / "bin" / "pip-audit"
    if not tool.exists():
        venv.create(HOME, with_pip=True)
        command = [HOME / "bin" / "pip", "install", "-q", "pip-audit>=2.7"]
        if subprocess.run(command, check=False, timeout=PATIENCE_S, capture_output=True).returncode:
            return None
    return tool


def ask(tool: Path, service: str, requirements: list[str]) -> tuple[list[str], list[str]]:
    """The holes that one service knows, and what it cannot judge."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write("\n".join(requirements))
        file.flush()
        command = [tool, "-f", "json", "--progress-spinner", "off", "-s", service, "--no-deps", "--disable-pip"]
        try:
            done = subprocess.run(
                [*command, "-r", file.name], check=False, timeout=PATIENCE_S, capture_output=True, text=True
            )
            found = json.loads(done.stdout)["dependencies"]
        except (ValueError, subprocess.TimeoutExpired):
            return [], requirements
    holes = [f"{one['name']} {one['version']}: {hole['id']}" for one in found for hole in one.get("vulns", ())]
    return holes, [one["name"] for one in found if "skip_reason" in one]


def main() -> int:
    oldest = [f"{name}=={bound}" for name, bound in lower_bounds().items()]
    newest = [f"{name}=={version(name)}" for name in lower_bounds()]
    tool = pip_audit()
    if tool is None:
        print("audit: pip-audit cannot be installed here, nothing was asked")
        return 0
    holes: list[str] = []
    for requirements in (oldest, newest):
        for service in ("pypi", "osv"):
            known, unjudged = ask(tool, service, requirements)
            holes += known
            if not unjudged:
                print(f"audit: {service} knows {len(known)} hole(s) in {', '.join(requirements)}")
                break
        else:
            print(f"audit: no database of holes can be reached, {', '.join(requirements)} are not judged")
    for hole in holes:
        print(f"audit: {hole}")
    return 1 if holes else 0


if __name__ == "__main__":
    sys.exit(main())
