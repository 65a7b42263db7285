"""What is kept of a delivery, as values."""

from __future__ import annotations

from proxy.queue.records import Parcel, Taken


def test_nothing_of_a_delivery_itself_is_shown() -> None:
    parcel = Parcel("a", "hook", 0.0, b"X-Token: secret", b"secret", 6, {"agent": "secret"})
    shown = repr(Taken(1, parcel, 0, 0.0))
    assert "hook" in shown
    assert "secret" not in shown
