"""What a route asks of payloads: from ``where``, ``undecided`` and ``events`` to one rule."""

from __future__ import annotations

from proxy.config.guards import Guards
from proxy.config.tree import Table
from proxy.core.payload import Pointer
from proxy.core.policy import BodyMode
from proxy.core.schemes import Provider
from proxy.core.where import PayloadCondition, PayloadRule


def read_payload_rule(view: Table, guards: Guards) -> PayloadRule | None:
    """What a route asks of payloads; None where it looks at none."""
    where: tuple[PayloadCondition, ...] = view.get("where", tuple) or ()
    place = _event_place(guards.provider)
    events = frozenset(view.items("events", str)) if place is not None else frozenset()
    if not where and not events:
        if "undecided" in view and not view.doubtful("where"):
            view.wrong("undecided", "`undecided` has no effect without `where`", "add `where`, or remove it")
        return None
    passes = view.need("undecided", str) == "pass"
    if passes and events:
        what = "what cannot be read is never passed on where `events` stand in the payload"
        view.wrong("undecided", what, "remove `events`, or `undecided`")
    return PayloadRule(where, place, events or None, passes)


def _event_place(provider: Provider | None) -> Pointer | None:
    """Where the event stands in the payload; None where a header has it, or nothing is known."""
    if provider is None or provider.event_header is not None or not provider.event_place:
        return None
    return Pointer.parse(provider.event_place)


def body_of_payloads(view: Table, asked: str | None, mode: BodyMode) -> BodyMode:
    """How the body goes where its payload is looked at: held back within the window, even where nothing is signed."""
    if asked == "free":
        view.wrong(
            "body",
            '"free" would pass the body on before its payload is looked at',
            'write body = "tail" or "hold", or leave `body` out',
        )
    return BodyMode.TAIL if mode is BodyMode.FREE else mode
