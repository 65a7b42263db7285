"""A replay as it is asked for: what is to be sent of a kept delivery, worked out before anything is.

As it came, signed again as of now, or edited; what is edited may leave masks where they stand, and what came takes
their place, so that a secret need not be known to be sent on. ``MistakenOrderError`` says what cannot be done, and why.
"""

from __future__ import annotations

import difflib
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Mapping
from typing import Any, cast

from proxy.console.kept import Json, KeptExchange, shown_target
from proxy.console.masking import Masking
from proxy.core.policy import Policy, Route
from proxy.core.signing.anew import sign_anew
from proxy.http1 import RequestHead, value_of, write_request_head
from proxy.values import frozen

Fields = list[tuple[bytes, bytes]]
_MASK = b"[masked, "
#: We frame the content ourselves; what said how it was framed does not count again.
_FRAMING = frozenset({b"content-length", b"transfer-encoding", b"trailer", b"expect", b"connection", b"keep-alive"})
MAX_DIFF_LINES = 2000


class MistakenOrderError(Exception):
    """It cannot be sent so: ``what`` is wrong, and what ``mend`` s it."""

    def __init__(self, what: str, mend: str) -> None:
        super().__init__(what)
        self.what = what
        self.mend = mend


@frozen
class ReplayOrder:
    """One request to be sent, and where to: through every check, or to the application alone."""

    method: bytes
    target: bytes
    fields: tuple[tuple[bytes, bytes], ...]
    body: bytes
    through_checks: bool
    passes_duplicates: bool
    is_edited: bool
    signed_with: str = ""

    def wire(self) -> bytes:
        """The request as bytes, its content framed by its length."""
        framing = [(b"Content-Length", b"%d" % len(self.body))] if self.body or self.method != b"GET" else []
        return write_request_head(self.method, self.target, [*self.fields, *framing]) + self.body


def read_order(how: Mapping[str, Any], kept: KeptExchange, masking: Masking, policy: Policy, now: float) -> ReplayOrder:
    """What is asked for. MistakenOrderError."""
    head = kept.head
    if not kept.is_whole or head is None:
        raise MistakenOrderError("not all of this delivery was kept", "a larger keep_bytes keeps larger deliveries")
    _check_words(how)
    method, target, fields, body = _edited(cast("Mapping[str, Any]", how.get("edit") or {}), kept, head, masking)
    order = ReplayOrder(
        method,
        target,
        tuple(fields),
        body,
        through_checks=how.get("to", "checks") == "checks",
        passes_duplicates=how.get("duplicates") == "pass",
        is_edited=bool(how.get("edit")),
    )
    if how.get("sign", "received") == "received":
        return order
    return _signed(order, route_of(kept, policy), now)


def route_of(kept: KeptExchange, policy: Policy) -> Route:
    """The route that took the delivery, as it is configured now. MistakenOrderError where there is none."""
    found = next((route for route in policy.routes if route.name == kept.record.route), None)
    if found is None:
        raise MistakenOrderError("no route took this delivery", "replay it through the checks, as it came")
    return found


def _signed(order: ReplayOrder, route: Route, now: float) -> ReplayOrder:
    try:
        signed = sign_anew(
            route, method=order.method, target=order.target, fields=order.fields, body=order.body, now=now
        )
    except ValueError as error:
        raise MistakenOrderError(f"it cannot be signed again: {error}", "replay it as it came") from None
    return ReplayOrder(
        order.method,
        signed.target,
        signed.fields,
        signed.body,
        through_checks=order.through_checks,
        passes_duplicates=order.passes_duplicates,
        is_edited=order.is_edited,
        signed_with=signed.secret,
    )


def _check_words(how: Mapping[str, Any]) -> None:
    known = {"sign": ("received", "now"), "to": ("checks", "application"), "duplicates": ("refuse", "pass")}
    for name, value in how.items():
        if name in known and value not in known[name]:
            raise MistakenOrderError(f"{name} is none of {' and '.join(known[name])}", f'write "{known[name][0]}"')
        if name not in {*known, "edit", "dry_run"}:
            raise MistakenOrderError(f"{str(name)[:40]!r} is no word of a replay", "see /api/v1/openapi.json")
    edit = how.get("edit")
    if edit is not None and (
        not isinstance(edit, dict) or not edit.keys() <= {"method", "target", "fields", "body", "encoding"}
    ):
        raise MistakenOrderError("edit is no object of method, target, fields and body", "see /api/v1/openapi.json")


def _edited(
    edit: Mapping[str, Any], kept: KeptExchange, head: RequestHead, masking: Masking
) -> tuple[bytes, bytes, Fields, bytes]:
    method = _bytes(edit.get("method"), "method") or head.method
    target = _unmasked(_bytes(edit.get("target"), "target"), head.target, shown_target(kept, head, masking), "target")
    fields = [(entry[1][: len(entry[0])], value_of(entry)) for entry in head.fields]
    if "fields" in edit:
        fields = _fields(edit["fields"], fields, masking)
    body = kept.content
    if "body" in edit:
        body = _unmasked(_content(edit), kept.content, masking.body(kept.content), "body")
    return method, target, [one for one in fields if one[0].lower() not in _FRAMING], body


def _fields(given: object, came: Fields, masking: Masking) -> Fields:
    if not isinstance(given, list) or not all(isinstance(one, list) and len(one) == 2 for one in given):
        raise MistakenOrderError("fields is no list of [name, value]", 'write [["X-Event", "push"]]')
    pairs = [(_need(name, "the name of a field"), _need(value, "the value of a field")) for name, value in given]
    left = list(came)
    found = []
    for name, value in pairs:
        if _MASK not in value:
            found.append((name, value))
            continue
        same = (one for one in left if one[0].lower() == name.lower() and masking.field(name.lower(), one[1]) == value)
        original = next(same, None)
        if original is None:
            shown = name.decode("latin-1")[:60]
            raise MistakenOrderError(f"the mask of {shown} stands for nothing that came", "write the value itself")
        left.remove(original)
        found.append((name, original[1]))
    return found


def _need(value: object, what: str) -> bytes:
    found = _bytes(value, what)
    if found is None or b"\r" in found or b"\n" in found or b"\0" in found:
        raise MistakenOrderError(f"{what} is no line of text", "write it without line breaks")
    return found


def _bytes(value: object, what: str) -> bytes | None:
    if value is None:
        return None
    if not isinstance(value, str):
        raise MistakenOrderError(f"{what} is no text", "write it in quotes")
    try:
        return value.encode("latin-1")  # as it is shown
    except UnicodeEncodeError:
        return value.encode("utf-8")


def _content(edit: Mapping[str, Any]) -> bytes:
    text = edit["body"]
    if not isinstance(text, str):
        raise MistakenOrderError("body is no text", "write it in quotes, or in base64 with its encoding")
    if edit.get("encoding", "utf-8") == "utf-8":
        return text.encode("utf-8", "surrogatepass")
    try:
        return b64decode(text, validate=True)
    except (Base64Error, ValueError):
        raise MistakenOrderError("body is no base64", 'write it so, or say "encoding": "utf-8"') from None


def _unmasked(given: bytes | None, came: bytes, shown: bytes, what: str) -> bytes:
    """What was given; where it is what was shown, what came. Half of a mask is nothing that could be sent."""
    if given is None or given == shown:
        return came
    if _MASK in given and _MASK in shown:
        raise MistakenOrderError(f"the {what} was edited and has a mask in it", "write the value itself in its place")
    return given


def difference(order: ReplayOrder, kept: KeptExchange, masking: Masking) -> str:
    """What came and what is to be sent, as a unified diff, masked."""
    head = kept.head
    assert head is not None
    came = [(entry[1][: len(entry[0])], value_of(entry)) for entry in head.fields if entry[0] not in _FRAMING]
    before = _lines(head.method, head.target, came, kept.content, masking)
    after = _lines(order.method, order.target, list(order.fields), order.body, masking)
    if max(len(before), len(after)) > MAX_DIFF_LINES:
        return "too long to be compared\n" if before != after else ""
    return "".join(line + "\n" for line in difflib.unified_diff(before, after, "as it came", "to be sent", lineterm=""))


def _lines(method: bytes, target: bytes, fields: Fields, body: bytes, masking: Masking) -> list[str]:
    head = [b"%b %b" % (method, masking.target(target))]
    head += [b"%b: %b" % (name, masking.field(name.lower(), value)) for name, value in fields]
    text = b"\n".join([*head, b"", masking.body(body)])
    return text.decode("utf-8", "backslashreplace").split("\n")


def outcome(order: ReplayOrder, shown: Json) -> str:
    """What became of a replay, in a sentence; ``shown`` has ``status`` and ``reason``."""
    signed = f", signed again with {order.signed_with}" if order.signed_with else ""
    edited = ", edited" if order.is_edited else ""
    where = "through the checks" if order.through_checks else "to the application alone"
    return f"{shown['reason']} {shown['status']}: sent {where}{signed}{edited}"
