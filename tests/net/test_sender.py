from __future__ import annotations

from proxy.net.client import ClientConnection
from proxy.net.sender import Pause, Sender


def test_reasons_to_pause_can_be_added_up() -> None:
    assert sum(why.value for why in Pause) == (1 << len(Pause)) - 1


def test_a_connection_answers_everything_an_exchange_may_ask() -> None:
    asked = [name for name in vars(Sender) if not name.startswith("_")]
    assert asked
    assert all(hasattr(ClientConnection, name) for name in [*asked, *Sender.__annotations__])
