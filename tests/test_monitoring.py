"""The alerts, the dashboard and the documents name only metrics and labels that exist, and Prometheus' own tool takes
the rules, what they do, and every expression.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from proxy.core.metric_families import FAMILIES

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "docs" / "monitoring"
PAGES = [ROOT / "README.md", ROOT / "bench" / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
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


def test_there_are_five_alerts() -> None:
    assert len(re.findall(r"- alert: (\w+)", (FOLDER / "alerts.yml").read_text())) == 5


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_documents_name_metrics_that_exist(page: Path) -> None:
    names = re.findall(r"\bhookward_[a-z]+(?:_[a-z]+)+", page.read_text())
    assert {family_of(name) for name in names} <= set(KNOWN)


def test_the_page_of_metrics_is_what_is_counted() -> None:
    made = subprocess.run(
        [sys.executable, "scripts/metrics_page.py"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert (ROOT / "docs" / "metrics.md").read_text() == made.stdout, "python scripts/metrics_page.py > docs/metrics.md"
    for family in FAMILIES:
        assert f"| `{family.name}` | {family.kind} |" in made.stdout
        assert family.text in made.stdout


def promtool(*words: str) -> str:
    if shutil.which("promtool") is None:
        pytest.skip("promtool is not installed (Debian: prometheus)")
    done = subprocess.run(["promtool", *words], cwd=FOLDER, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_promtool_takes_the_rules() -> None:
    assert "5 rules found" in promtool("check", "rules", "alerts.yml")


def test_each_alert_speaks_when_it_should_and_not_before() -> None:
    promtool("test", "rules", "alerts.test.yml")


def test_promtool_reads_every_panel(tmp_path: Path) -> None:
    plain = [expression.replace("$__rate_interval", "5m").replace("$instance", "a") for expression in expressions()]
    rules = [{"record": f"panel:{number}", "expr": text} for number, text in enumerate(plain)]
    path = tmp_path / "panels.yml"
    path.write_text(json.dumps({"groups": [{"name": "panels", "rules": rules}]}))
    assert f"{len(rules)} rules found" in promtool("check", "rules", str(path))
