"""The rules: ids that stay, sentences that say the mend, and every one reached by some configuration."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from proxy.config.problems import RULES, Rule

ROOT = Path(__file__).parents[2]
SOURCES = "".join(path.read_text() for path in (ROOT / "proxy").rglob("*.py") if path.name != "rules.py")


@pytest.mark.parametrize("rule", RULES.values(), ids=lambda rule: rule.id)
def test_a_rule_is_whole(rule: Rule):
    assert re.fullmatch(r"H[1-6][0-9]{2}", rule.id)
    assert rule.what.endswith(".")
    assert rule.mend.endswith(".")
    assert f'"{rule.id}", ' in SOURCES.replace("\n", " ")


def test_the_page_lists_the_rules():
    rows = re.findall(r"^\| `(H\d{3})` \| (.*?) \| (.*?) \|$", (ROOT / "docs" / "tools.md").read_text(), re.MULTILINE)
    assert rows == [(rule.id, rule.what, rule.mend) for rule in RULES.values()]
