"""A run as one SVG: for each workload a bar for each peer, by the headline figure. Written by hand, needs nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from bench.load.report import medians
from bench.load.workloads import FIGURES, WORKLOADS
from bench.peers.catalogue import PEERS

COLUMNS, WIDTH, LABEL, BAR, ROW, HEAD, GAP = 2, 560, 220, 220, 18, 44, 18
OURS, THEIRS = "#c2410c", "#94a3b8"
STYLE = (
    "text{font:12px system-ui,sans-serif;fill:#1e293b}.title{font-weight:600;font-size:13px}"
    ".unit{fill:#64748b;font-size:11px}.label{text-anchor:end}"
)


def chart(result: Mapping[str, Any]) -> str:
    """The document."""
    panels = [(name, peers) for name, peers in medians(result).items() if peers]
    columns: list[list[str]] = [[] for _ in range(COLUMNS)]
    heights = [GAP] * COLUMNS
    for name, peers in panels:
        at = heights.index(min(heights))
        drawn, height = panel(name, peers, x=GAP + at * WIDTH, y=heights[at])
        columns[at] += drawn
        heights[at] += height
    width, height = GAP + COLUMNS * WIDTH, max(heights)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}">',
        f'<style>{STYLE}</style><rect width="100%" height="100%" fill="#fff"/>',
        *(line for column in columns for line in column),
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def panel(name: str, peers: Mapping[str, Mapping[str, float]], *, x: int, y: int) -> tuple[Sequence[str], int]:
    """One workload: its elements and its height. The best is at the top."""
    key = WORKLOADS[name].figures[0]
    figure = FIGURES[key]
    values = {peer: figures[key] for peer, figures in peers.items() if key in figures}
    order = sorted(values, key=lambda peer: values[peer], reverse=figure.more_is_better)
    most = max(values.values(), default=0) or 1
    better = "more is better" if figure.more_is_better else "less is better"
    lines = [text(x, y + 14, WORKLOADS[name].title, "title"), text(x, y + 30, f"{figure.title} ({better})", "unit")]
    for row, peer in enumerate(order):
        top = y + HEAD + row * ROW - 6
        length = max(1.0, values[peer] / most * BAR)
        colour = OURS if peer == "hookward" else THEIRS
        lines += [
            text(x + LABEL - 6, top + 12, PEERS[peer].title, "label"),
            f'<rect x="{x + LABEL}" y="{top + 2}" width="{length:.1f}" height="{ROW - 5}" rx="2" fill="{colour}"/>',
            text(x + LABEL + length + 6, top + 12, figure.shape.format(values[peer]), "unit"),
        ]
    return lines, HEAD + ROW * len(order) + GAP


def text(x: float, y: float, words: str, kind: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}">{escape(words)}</text>'
