"""The judge of a proof: reads what a sender was told and what an application got, and nothing of hookward.

Missing is what was told 2xx and never arrived with its own content. What arrived more than once is explained where
hookward itself said that it had tried before (``Webhook-Attempt`` of 2 or more); anything else is not.

    python -m bench.queue.checker SENDER-LEDGER APPLICATION-LEDGER
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path


@dataclass
class Findings:
    """What the two ledgers say together."""

    sent: int = 0
    told_2xx: int = 0
    told_else: dict[str, int] = field(default_factory=dict)  # 0: no answer
    arrived: int = 0  # deliveries, each once
    arrived_untold: int = 0  # their senders had no 2xx
    missing: list[str] = field(default_factory=list)
    altered: list[str] = field(default_factory=list)
    never_sent: list[str] = field(default_factory=list)
    again: int = 0  # arrivals beyond the first of each
    again_because: dict[str, int] = field(default_factory=dict)
    again_unexplained: list[str] = field(default_factory=list)

    @property
    def wrong(self) -> list[str]:
        """What was promised and not kept."""
        return [name for name in ("missing", "altered", "never_sent", "again_unexplained") if getattr(self, name)]


def whole_lines(path: Path) -> list[list[str]]:
    """The fields of each line; the last may be on its way."""
    text = path.read_text() if path.exists() else ""
    return [line.split(" ") for line in text[: text.rfind("\n") + 1].splitlines()]


def judge(sender: Path, application: Path) -> Findings:
    found = Findings()
    arrivals: dict[str, list[tuple[str, str, str]]] = {}
    for name, attempt, digest, path, *_ in whole_lines(application):
        arrivals.setdefault(name, []).append((attempt, digest, path))
    told: dict[str, tuple[int, str]] = {}
    for name, word, digest, *_ in whole_lines(sender):
        told[name] = int(word), digest
    found.sent = len(told)
    found.told_else = dict(Counter(str(status) for status, _ in told.values() if status // 100 != 2))
    for name, (status, digest) in told.items():
        came = arrivals.get(name, [])
        if status // 100 == 2:
            found.told_2xx += 1
            if not came:
                found.missing.append(name)
        elif came:
            found.arrived_untold += 1
        if any(each != digest for _, each, _ in came):
            found.altered.append(name)
    found.arrived = len(arrivals)
    found.never_sent = [name for name in arrivals if name not in told]
    because: Counter[str] = Counter()
    for name, came in arrivals.items():
        for attempt, _, _ in came[1:]:
            if attempt.isdecimal() and int(attempt) > 1:
                because["hookward said it had tried before"] += 1
            else:
                found.again_unexplained.append(name)
    found.again = sum(because.values()) + len(found.again_unexplained)
    found.again_because = dict(because)
    return found


def main(argv: Sequence[str]) -> int:
    sender, application = map(Path, argv)
    found = judge(sender, application)
    print(json.dumps(asdict(found), indent=1))
    return 1 if found.wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
