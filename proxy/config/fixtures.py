"""``[[test]]``: deliveries that the operator saved, with what must come of them. Only read here; ``check`` runs them.

The files are not opened at a start: a host in production need not have them.
"""

from __future__ import annotations

from proxy.config.problems import Problems, suggestion
from proxy.config.settings import Fixture
from proxy.config.tree import Tree, View
from proxy.core.addresses import Peer
from proxy.reasons import Reason

ADMITTED = "admitted"
WORDS = (ADMITTED, *(reason.word for reason in Reason))


def read_fixtures(tree: Tree, problems: Problems) -> tuple[Fixture, ...]:
    """The tests of a configuration, in order; what is wrong with one is a problem."""
    found = [_read(tree.view("test", "test", index), problems) for index in tree.indexes("test")]
    return tuple(one for one in found if one is not None)


def _read(view: View, problems: Problems) -> Fixture | None:
    file, expect, address = view.file("file"), view.need("expect", str), view.get("from", str)
    if file is None:
        if not view.doubtful("file"):
            problems.add(
                view.where(), "names no saved delivery", 'add file = "push.http"; `hookward send --save` makes one'
            )
        return None
    if expect not in WORDS:
        mend = suggestion(expect, WORDS, what="write admitted, or a reason such as")
        problems.add(view.where("expect"), f"{expect[:60]!r} is no outcome", mend)
        return None
    if address is not None and not _is_peer(address):
        problems.add(view.where("from"), f"{address[:60]!r} is not an address", 'write "192.0.2.7" or "unix:"')
        return None
    return Fixture(file, expect, view.where(), view.get("at", float), address)


def _is_peer(text: str) -> bool:
    try:
        return text == "unix:" or bool(Peer.of(text))
    except ValueError:
        return False
