"""Prints ``docs/metrics.md`` from the families of metrics.

python scripts/metrics_page.py > docs/metrics.md
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from proxy.core.metric_families import FAMILIES, Family

INTRODUCTION = """\
# Metrics

<!-- Made by `python scripts/metrics_page.py`; a test compares. -->

`/metrics` of the [admin listener](operations.md#health-numbers-alerts) shows these, as Prometheus' text 0.0.4 or as
OpenMetrics, where a counter is announced without `_total`. The numbers are those of all workers together: sums, but for
the gauges of which the table says *greatest* or *least*. Counters of a worker that has ended stay in the sums, so none
goes back.

Labels have few values, all of them from the configuration or from closed lists: `route` and `provider` as configured,
`reason` as in the [log reference](log-reference.md), `diagnosis` as in [diagnosis](diagnosis.md). No client can add a
series.

| metric | kind | labels | meaning |
|---|---|---|---|
"""
_MERGED = {"sum": "", "max": " Of all workers the greatest.", "min": " Of all workers the least."}
BOUNDS = """
## Bounds of the histograms

"""


def page() -> str:
    """The whole page."""
    return INTRODUCTION + "".join(map(_row, FAMILIES)) + BOUNDS + "".join(_bounds())


def _row(family: Family) -> str:
    labels = ", ".join(f"`{label}`" for label in family.labels)
    return f"| `{family.name}` | {family.kind} | {labels} | {family.text}{_MERGED[family.merge]} |\n"


def _bounds() -> Iterator[str]:
    for family in FAMILIES:
        if family.kind == "histogram":
            yield f"- `{family.name}`: {', '.join(f'{bound:g}' for bound in family.bounds)}\n"


if __name__ == "__main__":
    sys.stdout.write(page())
