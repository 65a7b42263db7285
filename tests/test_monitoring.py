"""The alerts and the dashboard name only metrics and labels that exist, and Prometheus' own tool takes the rules."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from proxy.core.metric_families import FAMILIES

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "monitoring"
KNOWN = {family.name: family for family in FAMILIES}
_METRIC = re.compile(r"hookward_[a-z_]+")
_USE = re.compile(r"(hookward_[a-z_]+)\{([^}]*)\}")


def dashboard() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((FOLDER / "dashboard.json").read_text())
    return loaded


def expressions() -> Iterator[str]:
    for panel in dashboard()["panels"]:
        for target in panel["targets"]:
            yield target["expr"]


def family_of(name: str) -> str:
    for ending in ("_bucket", "_sum", "_count"):
        stem = name.removesuffix(ending)
        if stem != name and stem in KNOWN and KNOWN[stem].kind == "histogram":
            return stem
    return name


@pytest.mark.parametrize("expression", [*expressions(), (FOLDER / "alerts.yml").read_text()])
def test_every_metric_exists(expression: str) -> None:
    names = {family_of(name) for name in _METRIC.findall(expression)}
    assert names
    assert names <= set(KNOWN)
    for name, selectors in _USE.findall(expression):
        labels = set(re.findall(r"(\w+)=~?", selectors)) - {"instance"}
        assert labels <= set(KNOWN[family_of(name)].labels)
    assert expression.count("(") == expression.count(")")


def test_the_dashboard_is_whole() -> None:
    board = dashboard()
    panels = board["panels"]
    assert len({panel["id"] for panel in panels}) == len({panel["title"] for panel in panels}) == len(panels)
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels]
    assert len(set(places)) == len(places)
    variables = {variable["name"] for variable in board["templating"]["list"]}
    used = set(re.findall(r"\$(?!__)\{?(\w+)", json.dumps(board)))
    assert used <= variables


def test_there_are_four_alerts() -> None:
    assert len(re.findall(r"- alert: (\w+)", (FOLDER / "alerts.yml").read_text())) == 4


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed (Debian: prometheus)")
def test_promtool_takes_the_rules() -> None:
    done = subprocess.run(
        ["promtool", "check", "rules", str(FOLDER / "alerts.yml")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4 rules found" in done.stdout
