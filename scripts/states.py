"""Draw the state machines of ``proxy/core/states.py``, one SVG each, into ``docs/states``.

States stand in one row, in the order of the table. Moves to the right are arcs above it, moves to the left arcs below.
Where every state may go to ``closed``, one sentence says so instead of an arc from each.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import Enum
from pathlib import Path

from proxy.core.states import ANSWER_MOVES, CLIENT_MOVES, REQUEST_MOVES, SERVICE_MOVES, UPSTREAM_MOVES

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "states"
MACHINES = {
    "client": CLIENT_MOVES,
    "upstream": UPSTREAM_MOVES,
    "request": REQUEST_MOVES,
    "answer": ANSWER_MOVES,
    "service": SERVICE_MOVES,
}
WIDTH, HEIGHT, GAP, MARGIN = 96, 34, 44, 24
STYLE = (
    "text{font:13px system-ui,sans-serif;fill:#1e293b;text-anchor:middle}.note{fill:#64748b;font-size:12px}"
    "rect.state{fill:#f8fafc;stroke:#475569}rect.end{fill:#e2e8f0;stroke:#475569}"
    "path.move{fill:none;stroke:#475569;stroke-width:1.3;marker-end:url(#tip)}path.back{stroke:#c2410c}"
)
TIP = (
    '<marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
    '<path d="M0 0L8 4L0 8z" fill="#475569"/></marker>'
)


def draw(name: str, moves: Mapping[Enum, frozenset[Enum]]) -> str:
    """The drawing of one machine."""
    states = list(moves)
    end = states[-1]
    all_end = all(end in moves[state] for state in states[:-1])
    drawn = [
        (states.index(old), states.index(new))
        for old in states
        for new in sorted(moves[old], key=states.index)
        if not (all_end and new is end and old is not states[-2])
    ]
    above = max((rise(old, new) for old, new in drawn if new > old), default=0)
    below = max((rise(old, new) for old, new in drawn if new <= old), default=0)
    top = MARGIN + above
    width = 2 * MARGIN + len(states) * WIDTH + (len(states) - 1) * GAP
    height = top + HEIGHT + below + MARGIN + 20
    note = f"every state may also go to {end.value}" if all_end else ""
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}">',
        f"<title>The states of {name}</title><style>{STYLE}</style><defs>{TIP}</defs>",
        '<rect width="100%" height="100%" fill="#fff"/>',
        *(arrow(states, old, new, top) for old, new in drawn),
        *(line for at, state in enumerate(states) for line in box(state, at, top, last=state is end)),
        f'<text class="note" x="{width / 2:g}" y="{height - 12}">{note}</text>',
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def rise(old: int, new: int) -> int:
    """How far the arc of a move leaves the row; 0 is a straight line to the neighbour."""
    return 0 if new == old + 1 else 26 if new == old else 10 + 18 * abs(new - old)


def middle(at: int) -> float:
    """Where the box of that state has its middle."""
    return MARGIN + at * (WIDTH + GAP) + WIDTH / 2


def arrow(states: list[Enum], old: int, new: int, top: int) -> str:
    """One move."""
    start, stop = middle(old), middle(new)
    if new == old + 1:
        line = f"M{start + WIDTH / 2:g} {top + HEIGHT / 2:g}H{stop - WIDTH / 2:g}"
    elif new > old:
        start, stop, peak = start + 8 * (new - old), stop - 8 * (new - old), top - rise(old, new) * 4 / 3
        line = f"M{start:g} {top}C{start:g} {peak:g} {stop:g} {peak:g} {stop:g} {top}"
    else:
        low = top + HEIGHT
        start, stop, peak = (
            (start - 10 * (old - new), stop + 10 * (old - new), low + rise(old, new) * 4 / 3)
            if new < old
            else (start - 34, stop - 14, low + rise(old, new))
        )
        line = f"M{start:g} {low}C{start:g} {peak:g} {stop:g} {peak:g} {stop:g} {low}"
    kind = "move" if new > old else "move back"
    return f'<path class="{kind}" d="{line}"><title>{states[old].value} to {states[new].value}</title></path>'


def box(state: Enum, at: int, top: int, *, last: bool) -> Iterator[str]:
    """One state."""
    left = middle(at) - WIDTH / 2
    kind = "end" if last else "state"
    yield f'<rect class="{kind}" x="{left:g}" y="{top}" width="{WIDTH}" height="{HEIGHT}" rx="6"/>'
    yield f'<text x="{middle(at):g}" y="{top + HEIGHT / 2 + 4.5:g}">{state.value}</text>'


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for name, moves in MACHINES.items():
        (FOLDER / f"{name}.svg").write_text(draw(name, moves), encoding="utf-8")


if __name__ == "__main__":
    main()
