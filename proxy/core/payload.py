"""What a delivery says, as the application would read it: a JSON document, or a form.

Read once its sender is proved, or where none has to be, so it is bounded all the same: by ``core.signing.documents``,
which counts elements, depth and fields before anything is built. Where two readings are possible (a key or a field
twice, two types of content) there is none: what we decide on must be what the application acts on. Nothing here raises.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from proxy.core.signing.documents import read_document, read_form
from proxy.http1 import RequestHead
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
