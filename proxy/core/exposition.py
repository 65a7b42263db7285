"""Metrics as text, for scrapers: Prometheus' format 0.0.4 and OpenMetrics 1.0.0. It never knows what counts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from proxy.core.metric_families import BY_NAME, FAMILIES, Family

CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"
OPEN_METRICS_TYPE = b"application/openmetrics-text; version=1.0.0; charset=utf-8"

#: Beyond it no count can come; sums of it stay finite.
_MOST = float(1 << 62)

#: A histogram's sample is its counts per bucket (the last is +Inf), then its sum.
Sample = float | list[float]
#: The values of the family's labels, in their order.
Labels = tuple[str, ...]
#: By the names of the families.
Snapshot = dict[str, dict[Labels, Sample]]


def plain_snapshot(snapshot: Snapshot) -> dict[str, list[tuple[Labels, Sample]]]:
    """The snapshot as JSON can carry it to another process."""
    return {name: list(samples.items()) for name, samples in snapshot.items()}


def read_snapshot(value: object) -> Snapshot:
    """The snapshot in what another process has sent. ValueError where it is none that adds up with others: every family
    must be known, every number finite and small enough to be summed, and no counter below 0.
    """
    if isinstance(value, dict):
        return {name: _read_samples(BY_NAME.get(name), samples) for name, samples in value.items()}
    raise ValueError("no metrics")


def _read_samples(family: Family | None, samples: object) -> dict[Labels, Sample]:
    if family is None or not isinstance(samples, list):
        raise ValueError("an unknown metric")
    found: dict[Labels, Sample] = {}
    for pair in samples:
        labels, sample = pair if isinstance(pair, list) and len(pair) == 2 else (None, None)
        if not isinstance(labels, list) or len(labels) != len(family.labels) or not all(map(_is_text, labels)):
            raise ValueError("labels that are none")
        if not _is_sample(family, sample):
            raise ValueError("a sample that is none")
        found[tuple(labels)] = cast("Sample", sample)
    return found


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_sample(family: Family, sample: object) -> bool:
    if family.kind == "histogram":
        whole = isinstance(sample, list) and len(sample) == len(family.bounds) + 2
        *counts, total = cast("list[object]", sample) if whole else [None]
        return all(_is_number(one, 0) for one in counts) and _is_number(total, -_MOST)
    return _is_number(sample, 0 if family.kind == "counter" else -_MOST)


def _is_number(value: object, least: float) -> bool:
    # A comparison with what is no number (NaN) is false.
    return isinstance(value, int | float) and least <= value <= _MOST


def render(snapshot: Snapshot) -> bytes:
    """The Prometheus text (format 0.0.4) of a snapshot; families without a sample are left out."""
    return _render(snapshot, open_metrics=False)


def render_open_metrics(snapshot: Snapshot) -> bytes:
    """The OpenMetrics text (format 1.0.0) of a snapshot; families without a sample are left out."""
    return _render(snapshot, open_metrics=True)


def _render(snapshot: Snapshot, *, open_metrics: bool) -> bytes:
    lines: list[str] = []
    for family in FAMILIES:
        samples = snapshot.get(family.name)
        if not samples:
            continue
        # There a counter's family has the name without the ending that its samples have.
        name = family.name.removesuffix("_total") if open_metrics else family.name
        lines.append(f"# HELP {name} {family.text}")
        lines.append(f"# TYPE {name} {family.kind}")
        for values, value in samples.items():
            labels = _render_labels(family.labels, values)
            if isinstance(value, list):
                lines.extend(_histogram_lines(family, labels, value, open_metrics=open_metrics))
            else:
                lines.append(
                    f"{family.name}{{{labels}}} {_number(value)}" if labels else f"{family.name} {_number(value)}"
                )
    lines += ["# EOF", ""] if open_metrics else [""]
    return "\n".join(lines).encode("utf-8", "replace")


def _histogram_lines(family: Family, labels: str, value: list[float], *, open_metrics: bool) -> list[str]:
    lines: list[str] = []
    name = family.name
    total = 0.0
    before = f"{labels}," if labels else ""
    # OpenMetrics wants the bounds as floats ("1.0"), which the older format has always had as they are.
    bounds = [repr(float(bound)) if open_metrics else _number(bound) for bound in family.bounds] + ["+Inf"]
    for bound, count in zip(bounds, value[:-1], strict=True):
        total += count
        lines.append(f'{name}_bucket{{{before}le="{bound}"}} {_number(total)}')
    after = f"{{{labels}}}" if labels else ""
    lines.append(f"{name}_sum{after} {_number(value[-1])}")
    lines.append(f"{name}_count{after} {_number(total)}")
    return lines


def _number(value: float) -> str:
    # Whole numbers without an exponent or ".0": they are counts, and a float's repr is exact for the rest.
    return str(int(value)) if value == int(value) else repr(value)


def _render_labels(names: Sequence[str], values: Sequence[str]) -> str:
    """``name="value",…`` with the three escapes of the format; "" without labels."""
    return ",".join(f'{name}="{_escape(value)}"' for name, value in zip(names, values, strict=True))


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
