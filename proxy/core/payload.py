"""What a delivery says, as the application would read it: a JSON document, or a form.

Read once its sender is proved, or where none has to be, so it is bounded all the same: by ``core.signing.documents``,
which counts elements, depth and fields before anything is built. Where two readings are possible (a key or a field
twice, two types of content) there is none: what we decide on must be what the application acts on. Nothing here raises.

``where`` says which deliveries a route passes on, and ``events`` which events it takes, where these stand in the body.
It is data, no language. A condition names a place in the payload and what may be there: texts, in which ``*`` stands
for any characters, numbers and booleans, any of which is enough; a text that begins with ``!`` must not be there. All
conditions must hold, and a place that is missing holds none. A list of events is a guard, and what it does not name is
refused. ``where`` is a choice: what it leaves out is answered as taken, so that the provider does not count it as a
failure, and the application sees none of it. Pure; ``core.body`` asks.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import field
from typing import TypeAlias

from proxy.core.signing.documents import read_document, read_form
from proxy.http1 import RequestHead
from proxy.reasons import Reason
from proxy.values import frozen

FORM = b"application/x-www-form-urlencoded"
#: The field in which GitHub, Slack and others send JSON in a form.
_JSON_FIELD = b"payload"
#: Values of one path that are looked at. With more, a rule would cost more than the reading.
MAX_VALUES = 1000


def media_type(head: RequestHead) -> bytes:
    """The type of the content in lower case, without parameters: they say how to read it (RFC 9110 section 8.3.1).
    b"" where none is named, or more than one: the application may believe the other.
    """
    if b"content-type" in head.repeated:
        return b""
    return head.values.get(b"content-type", b"").partition(b";")[0].strip(b" \t").lower()


def read_payload(head: RequestHead, body: bytes) -> object | None:
    """The document in ``body``: objects as dictionaries, lists, texts, numbers, booleans. A form is an object of texts,
    but for a field ``payload``, which is the document. None where it cannot be read in one way alone.
    """
    if b"content-type" in head.repeated or b"content-encoding" in head.values:
        return None
    return _read_fields(body) if media_type(head) == FORM else read_document(body)


def _read_fields(body: bytes) -> object | None:
    form = read_form(body)
    if form is None or len({name for name, _ in form}) < len(form):
        return None
    fields = dict(form)
    if _JSON_FIELD in fields:
        return read_document(fields[_JSON_FIELD])
    try:
        return {name.decode("utf-8"): value.decode("utf-8") for name, value in form}
    except UnicodeDecodeError:
        return None


@frozen
class Pointer:
    """A place in a document: ``repository.full_name``, ``labels[].name`` (of each element), ``[].type``."""

    text: str
    steps: tuple[str, ...]  # a key, or "[]"

    @classmethod
    def parse(cls, text: str) -> Pointer:
        """ValueError where a step of ``text`` is empty."""
        steps: list[str] = []
        for part in text.split("."):
            name = part.rstrip("[]")
            marks = part[len(name) :]
            if not part or marks.replace("[]", "") or (not name and steps):
                raise ValueError("is no path into a payload")
            steps += [name] * bool(name) + ["[]"] * (len(marks) // 2)
        return cls(text, tuple(steps))

    def values(self, document: Payload) -> list[object] | None:
        """What is there, null left out: at most one value where no step is "[]". None where it is too much."""
        found = [document.root]
        for step in self.steps:
            found = [inner for value in found for inner in document.step_into(value, step)]
            if len(found) > MAX_VALUES:
                return None
        return [value for value in found if value is not None]

    def of_all(self, document: Payload) -> list[object]:
        """As ``values``, but none at all where an element on the way has nothing there, or where there are too many."""
        found = [document.root]
        for step in self.steps:
            parts = [document.step_into(value, step) for value in found]
            if not all(parts) or sum(map(len, parts)) > MAX_VALUES:
                return []
            found = [value for part in parts for value in part]
        return found


class Payload:
    """A document that is looked into. ``is_ambiguous`` once a key was looked at that differs from another one of its
    object in the case of letters alone: many applications, Go's among them, take either.
    """

    __slots__ = ("_twice", "is_ambiguous", "root")

    def __init__(self, root: object) -> None:
        self.root = root
        self.is_ambiguous = False
        self._twice: dict[int, frozenset[str]] = {}  # by the identity of an object: its keys that are there twice so

    def step_into(self, value: object, step: str) -> Sequence[object]:
        """What ``step`` leads to: each element of a list, or what is at a key."""
        if step == "[]":
            return value if isinstance(value, list) else ()
        if not isinstance(value, dict) or step not in value:
            return ()
        if id(value) not in self._twice:
            folded = Counter(key.casefold() for key in value)
            self._twice[id(value)] = frozenset(key for key, times in folded.items() if times > 1)
        self.is_ambiguous |= step.casefold() in self._twice[id(value)]
        return (value[step],)


#: What may follow a backslash: the signs that mean something, and itself.
_ESCAPED = re.compile(r"\\([*!\\])|(\*)|(\\)")
#: Of an event's name, which the log has.
_MAX_EVENT = 128


@frozen
class Glob:
    """A text in which ``*`` stands for any characters, none included. ``pieces`` are what stands between the stars."""

    pieces: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> Glob:
        """A backslash makes ``*``, ``!`` and itself mean no more than they are; ValueError before any other sign."""
        pieces, at = [""], 0
        for match in _ESCAPED.finditer(text):
            literal, star, lone = match.groups()
            pieces[-1] += text[at : match.start()] + (literal or "")
            at = match.end()
            if lone:
                raise ValueError("has a backslash before a sign that needs none")
            if star:
                pieces.append("")
        pieces[-1] += text[at:]
        return cls(tuple(pieces))

    def __str__(self) -> str:
        return repr("*".join(self.pieces))

    def fits(self, text: str) -> bool:
        """Whether it stands for the whole of ``text``. Each piece is looked for once, from where the last one ended:
        that the first place is taken costs nothing, because the rest is then the longest, and there is no way back.
        """
        first, *others = self.pieces
        if not others:
            return text == first
        *inner, last = others
        end = len(text) - len(last)
        if not text.startswith(first) or not text.endswith(last) or end < len(first):
            return False
        at = len(first)
        for piece in inner:
            found = text.find(piece, at, end)
            if found < 0:
                return False
            at = found + len(piece)
        return True


#: A text, a number or a boolean.
Wanted: TypeAlias = Glob | float | bool


@frozen
class PayloadCondition:
    """What must be at a place: ``one_of``, where there are some, and ``none_of``."""

    place: Pointer
    one_of: tuple[Wanted, ...] = ()
    none_of: tuple[Glob, ...] = ()

    def __str__(self) -> str:
        """As a sentence goes on behind the place."""
        texts = [str(each).lower() if isinstance(each, bool) else str(each) for each in self.one_of]
        parts = [f"is {' or '.join(texts)}"] * bool(texts)
        parts += [f"is not {' nor '.join(map(str, self.none_of))}"] * bool(self.none_of)
        return " and ".join(parts)

    def holds(self, document: Payload) -> bool | None:
        """Whether it does; None where too much is there."""
        values = self.place.values(document)
        if not values:
            return None if values is None else False
        wanted = not self.one_of or any(_fits(each, value) for each in self.one_of for value in values)
        return wanted and not any(_fits(each, value) for each in self.none_of for value in values)


def _fits(wanted: Wanted, value: object) -> bool:
    if isinstance(wanted, Glob):
        return isinstance(value, str) and wanted.fits(value)
    # True equals 1, and is none.
    is_number = isinstance(value, int | float) and isinstance(value, bool) == isinstance(wanted, bool)
    return is_number and value == wanted


@frozen
class Selection:
    """What a payload came to: ``reason`` None passes on; ``detail``: the condition that fails, or what hid it."""

    reason: Reason | None = None
    detail: str = ""
    event: str = ""


@frozen
class PayloadRule:
    """What a route asks of payloads: ``events`` stand at ``event_place``, and ``where`` must hold."""

    where: tuple[PayloadCondition, ...] = ()
    event_place: Pointer | None = None
    events: frozenset[str] | None = None  # None: any
    passes_undecided: bool = field(default=False)  # what ``where`` cannot decide on; never what ``events`` cannot

    @property
    def may_pass(self) -> bool:
        """Whether what cannot be read is passed on."""
        return self.passes_undecided and self.events is None

    def judge(self, head: RequestHead, body: bytes | None) -> Selection:
        """What becomes of a delivery; ``body`` None is one that was too large to be kept."""
        if body is None:
            return self._undecided("hold_window")
        root = read_payload(head, body)
        if root is None:
            return self._undecided("unreadable")
        document = Payload(root)
        events = self._events_of(document)
        event = _printable(events[0])[:_MAX_EVENT] if events else ""
        if self.events is not None and (document.is_ambiguous or not (events and self.events.issuperset(events))):
            return Selection(Reason.EVENT_REFUSED, event=event)
        return self._by_conditions(document, event)

    def _by_conditions(self, document: Payload, event: str) -> Selection:
        """The first condition that does not hold, or of which it cannot be said, decides."""
        for condition in self.where:
            holds = condition.holds(document)
            if holds is None or document.is_ambiguous:
                why = "too_many_values" if holds is None else "unreadable"
                return Selection(event=event) if self.may_pass else Selection(Reason.PAYLOAD_UNDECIDED, why, event)
            if not holds:
                return Selection(Reason.FILTERED, condition.place.text, event)
        return Selection(event=event)

    def _events_of(self, document: Payload) -> Sequence[str]:
        """The event types: one, or those of all events that came together. None of them where one has no text there."""
        values = [] if self.event_place is None else self.event_place.of_all(document)
        texts: list[str] = [value for value in values if isinstance(value, str)]
        return texts if len(texts) == len(values) else []

    def _undecided(self, why: str) -> Selection:
        """What becomes of a payload that cannot be read at all."""
        if self.may_pass:
            return Selection()
        return Selection(Reason.EVENT_REFUSED if self.events is not None else Reason.PAYLOAD_UNDECIDED, why)


def _printable(text: str) -> str:
    """Without lone surrogates, which JSON may have and no log can write."""
    return text.encode("utf-8", "replace").decode("utf-8")
