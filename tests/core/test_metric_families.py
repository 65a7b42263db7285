"""Every family is named once and says what it is."""

from __future__ import annotations

import re

from proxy.core.metric_families import FAMILIES


def test_names_are_prometheus_own_and_unique() -> None:
    names = [family.name for family in FAMILIES]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"hookward_[a-z_]+", name) for name in names)
    assert all(family.text.endswith(".") or ";" in family.text for family in FAMILIES)


def test_bounds_grow() -> None:
    assert all(list(family.bounds) == sorted(set(family.bounds)) for family in FAMILIES)
