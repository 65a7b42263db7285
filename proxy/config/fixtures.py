"""``[[test]]``: deliveries that the operator saved, with what must come of them. Only read here; ``check`` runs them.

The files are not opened at a start: a host in production need not have them.
"""

from __future__ import annotations

from proxy.config.problems import suggestion
from proxy.config.settings import Fixture
from proxy.config.tree import Table
from proxy.core.addresses import Peer
from proxy.reasons import Reason

ADMITTED = "admitted"
WORDS = (ADMITTED, *(reason.word for reason in Reason))


def read_fixtures(top: Table) -> tuple[Fixture, ...]:
    """The tests of a configuration, in order; what is wrong with one is a problem."""
    found = [_read(table) for table in top.tables("test")]
    return tuple(one for one in found if one is not None)


def _read(view: Table) -> Fixture | None:
    file, expect, address = view.file("file"), view.need("expect", str), view.get("from", str)
    if file is None:
        if not view.doubtful("file"):
            view.wrong("", "names no saved delivery", 'add file = "push.http"; `hookward send --save` makes one')
        return None
    if expect not in WORDS:
        mend = suggestion(expect, WORDS, what="write admitted, or a reason such as")
        view.wrong("expect", f"{expect[:60]!r} is no outcome", mend)
        return None
    if address is not None and not _is_peer(address):
        view.wrong("from", f"{address[:60]!r} is not an address", 'write "192.0.2.7" or "unix:"')
        return None
    return Fixture(file, expect, view.where(), view.get("at", float), address)


def _is_peer(text: str) -> bool:
    try:
        return text == "unix:" or bool(Peer.of(text))
    except ValueError:
        return False
