"""``HeadForms``: a head that comes again but for some of its lines is read anew only in these.

Senders repeat themselves: of a push of GitHub's, four of fourteen lines differ from those of the push before. So the
form of a head that a route has let in is kept, its lines and what was read from them. A head with that request line and
as many lines is compared line by line. One that differs must have the same name, and its value is read by the same
grammar; those by which a message is framed and addressed may not differ, its length aside. All else is read by
``core.request_head``, which says what a head means: a form gives what that gives, or declines.

Two rules keep this harmless. Forms are few and small, and of the paths of routes alone, so no sender can make them
grow. And no line is compared that may hold a secret, for the time of that would tell how much of a guess is right.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from itertools import compress
from operator import ne

from proxy.core.request_head import HeadLimits, framing_of, is_canonical, read_request_head
from proxy.http1 import Framing, RequestHead, join_request_head

#: Together they take some 300 KiB at the most.
MAX_FORMS = 64
MAX_FORM_BYTES = 1536
#: So many heads that no form fits come before another form makes way: where two kinds take turns, one of them stays.
PATIENCE = 64

#: Fields whose value says more than itself. A message that has the first is not remembered: it depends on the length.
_EXPECT = b"expect"
_LENGTH = b"content-length"
_FIXED = frozenset({b"connection", b"host", b"transfer-encoding"})
#: No line begins so: they end there.
_NEVER = b"\r\n"
#: In names of fields whose values no guard of ours may know, and an application does.
_CREDENTIAL = re.compile(rb"auth|cookie|key|pass|secret|session|token")
#: ``grammar.PLAIN_VALUE_CHARS``.
_PLAIN = bytes(range(0x20, 0x7F))


class HeadForm:
    """One head, and which of its lines may differ. ``plan`` goes along with each head that is read by it."""

    __slots__ = ("_given_length", "_head", "_lines", "_starts", "plan")

    def __init__(self, head: RequestHead, secret: frozenset[bytes]) -> None:
        """``secret`` names fields that are never compared."""
        self._head = replace(head, again=True)
        self._given_length = head.values.get(_LENGTH)
        # What is never compared counts as another line each time: no line is empty.
        self._lines = [
            b"" if name in secret or _CREDENTIAL.search(name) else line
            for name, line in zip(head.names, head.lines, strict=True)
        ]
        self._starts = [
            (name, _NEVER if name in _FIXED else line[: len(name) + 2])
            for name, line in zip(head.names, head.lines, strict=True)
        ]
        self.plan: object = None

    def read(self, lines: list[bytes]) -> RequestHead | None:
        """The head with these field lines, as many as this one's; None where it may be something else."""
        known = self._head
        values = known.values.copy()
        others = []
        for (name, start), line in compress(zip(self._starts, lines, strict=True), map(ne, lines, self._lines)):
            value = line.removeprefix(start)
            if value == line or not value or value.strip() != value:
                return None
            values[name] = value
            others.append(value)
        if b"".join(others).translate(None, _PLAIN):
            return None
        framing, length = known.framing, known.content_length
        if values.get(_LENGTH) is not self._given_length:
            framing, length = framing_of(values, known.repeated, known.minor)
        return RequestHead(
            known.method,
            known.target,
            known.minor,
            known.names,
            lines,
            known.path,
            known.query,
            known.host,
            framing,
            length,
            known.keep_alive,
            known.expect_continue,
            values,
            known.repeated,
            known.dropped,
            True,
            self.plan,
        )


class HeadForms:
    """Reads the heads of one worker's clients by ``limits``, and remembers what they look like."""

    __slots__ = ("_forms", "_limits", "_most", "_secret", "_strange")

    def __init__(self, limits: HeadLimits, secret: Iterable[bytes]) -> None:
        """``secret`` names, in lower case, the fields that a proof is read from."""
        self._limits = limits
        self._most = min(limits.max_head, MAX_FORM_BYTES)
        self._secret = frozenset(secret)
        self._forms: dict[bytes, dict[int, HeadForm]] = {}  # by the request line, and the number of field lines
        self._strange = 0  # heads of which another form would be kept

    def read(self, buffer: bytes, known: int = 0) -> tuple[RequestHead, int] | None:
        """As ``read_request_head``."""
        # Not further: else a line without an end would be looked up again with each of its bytes.
        first = buffer.find(b"\r\n", 0, self._most)
        forms = self._forms.get(buffer[:first]) if first > 0 else None
        end = -1 if forms is None else buffer.find(b"\r\n\r\n", first, self._most)
        if forms is not None and end >= 0:
            lines = buffer[first + 2 : end].split(b"\r\n")
            form = forms.get(len(lines))
            head = None if form is None else form.read(lines)
            if head is not None:
                return head, end + 4
        return read_request_head(buffer, self._limits, known)

    def learn(self, head: RequestHead, path: bytes) -> HeadForm | None:
        """A route at ``path`` has let ``head`` in, which no form fitted: its form, where it is kept."""
        if not _comes_again(head, path):
            return None
        first, count = b"%b %b HTTP/1.1" % (head.method, path), len(head.lines)
        text = join_request_head(head.method, path, head.lines)
        if len(text) > self._most or not is_canonical(text) or not self._has_room(first, count):
            return None
        form = self._forms.setdefault(first, {})[count] = HeadForm(head, self._secret)
        return form

    def _has_room(self, first: bytes, count: int) -> bool:
        """Whether a form of so many lines may be kept; another one makes way for it, or all do."""
        taken = count in self._forms.get(first, {})
        if not taken and sum(map(len, self._forms.values())) < MAX_FORMS:
            return True
        self._strange += 1
        if self._strange < PATIENCE:
            return False
        self._strange = 0
        if not taken:
            self._forms.clear()
        return True


def _comes_again(head: RequestHead, path: bytes) -> bool:
    """Whether a head like this one may come again, and would mean the same."""
    # A query, or what lies below the path, may be a token, and another one each time.
    is_own = head.path == path and head.query is None and head.minor == 1
    return is_own and not (head.repeated or head.dropped or _EXPECT in head.values)


# -- ``RequestStream``: what a client has sent and we have not used yet. Heads are taken off it, and whole bodies.


class RequestStream:
    """The unused bytes of one connection, and the head that was taken off them and is not judged yet."""

    __slots__ = ("_known", "begins", "data", "head")

    def __init__(self) -> None:
        self.data = b""
        self.head: RequestHead | None = None
        self.begins = False  # the last read has found the first bytes of an incomplete head
        self._known = 0  # bytes of an incomplete head that were looked at; -1 where an answered request came before

    @property
    def has_begun(self) -> bool:
        """Whether a request is under way: the first counts from the start, any other from its first byte."""
        return self._known >= 0

    def next_request(self) -> None:
        """The request before is answered."""
        self._known = -1

    def add(self, data: bytes) -> None:
        """More has come."""
        self.data = self.data + data if self.data else data

    def drop(self) -> None:
        """Use none of it."""
        self.data, self.head = b"", None

    def read_head(self, forms: HeadForms) -> None:
        """Take a head off, where it is whole: then it is ``head``. ProtocolError where the bytes are none."""
        known, self._known = self._known, 0
        parsed = forms.read(self.data, known)
        if parsed is None:
            self._known, self.begins = len(self.data), known < 0
        else:
            self.head, consumed = parsed
            self.data = self.data[consumed:]

    def whole_body(self, head: RequestHead) -> bytes | None:
        """Take the body of ``head`` off, where all of it is here and its length was declared."""
        length = head.content_length or 0
        if head.framing is Framing.CHUNKED or len(self.data) < length:
            return None
        body, self.data = self.data[:length], self.data[length:]
        return body
