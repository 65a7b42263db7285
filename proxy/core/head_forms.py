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
_FIXED = frozenset({b"connection", b"host", b"transfer-encoding"})
#: No line begins so: they end there.
_NEVER = b"\r\n"
#: In names of fields whose values no guard of ours may know, and an application does.
_CREDENTIAL = re.compile(rb"auth|cookie|key|pass|secret|session|token")
#: ``grammar.PLAIN_VALUE_CHARS``.
_PLAIN = bytes(range(0x20, 0x7F))


class HeadForm:
    """One head, and which of its lines may differ."""

    __slots__ = ("_head", "_lines", "_places", "_starts")

    def __init__(self, lines: list[bytes], head: RequestHead, secret: frozenset[bytes]) -> None:
        """``lines`` are all of ``head``, the request line first; ``secret`` names fields that are never compared."""
        names = [name for name, _ in head.fields]
        self._head = replace(head, again=True)
        # What is never compared counts as another line each time: no line is empty.
        self._lines = [
            lines[0],
            *(
                b"" if name in secret or _CREDENTIAL.search(name) else line
                for name, line in zip(names, lines[1:], strict=True)
            ),
        ]
        self._starts = [_NEVER, *(_NEVER if name in _FIXED else line[: len(name) + 2] for name, line in head.fields)]
        self._places = range(len(lines))

    def read(self, lines: list[bytes]) -> RequestHead | None:
        """The head with these lines, as many as this one's; None where it may be something else."""
        known, starts = self._head, self._starts
        fields, values = known.fields.copy(), known.values.copy()
        others = []
        for place in compress(self._places, map(ne, lines, self._lines)):
            line = lines[place]
            value = line.removeprefix(starts[place])
            if value == line or not value or value.strip() != value:
                return None
            name = fields[place - 1][0]
            fields[place - 1] = name, line
            values[name] = value
            others.append(value)
        if b"".join(others).translate(None, _PLAIN):
            return None
        framing, length = framing_of(values, known.repeated, known.minor)
        return RequestHead(
            known.method,
            known.target,
            known.minor,
            fields,
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
            known.again,
        )


class HeadForms:
    """Reads the heads of one worker's clients by ``limits``, and remembers what they look like."""

    __slots__ = ("_forms", "_limits", "_most", "_secret", "_strange")

    def __init__(self, limits: HeadLimits, secret: Iterable[bytes]) -> None:
        """``secret`` names, in lower case, the fields that a proof is read from."""
        self._limits = limits
        self._most = min(limits.max_head, MAX_FORM_BYTES)
        self._secret = frozenset(secret)
        self._forms: dict[bytes, dict[int, HeadForm]] = {}  # by the request line, and the number of lines
        self._strange = 0  # heads of which another form would be kept

    def read(self, buffer: bytes, known: int = 0) -> tuple[RequestHead, int] | None:
        """As ``read_request_head``."""
        # Not further: else a line without an end would be looked up again with each of its bytes.
        line = buffer.find(b"\r", 0, self._most)
        forms = self._forms.get(buffer[:line]) if line > 0 else None
        end = -1 if forms is None else buffer.find(b"\r\n\r\n", 0, self._most)
        if forms is not None and end >= 0:
            lines = buffer[:end].split(b"\r\n")
            form = forms.get(len(lines))
            head = None if form is None else form.read(lines)
            if head is not None:
                return head, end + 4
        return read_request_head(buffer, self._limits, known)

    def learn(self, head: RequestHead, path: bytes) -> None:
        """A route at ``path`` has let ``head`` in, which no form fitted."""
        if not _comes_again(head, path):
            return
        lines = [b"%b %b HTTP/1.1" % (head.method, path), *(line for _, line in head.fields)]
        text = join_request_head(head.method, path, lines[1:])
        if len(text) <= self._most and is_canonical(text) and self._has_room(lines):
            self._forms.setdefault(lines[0], {})[len(lines)] = HeadForm(lines, head, self._secret)

    def _has_room(self, lines: list[bytes]) -> bool:
        """Whether a form with these lines may be kept; another one makes way for it, or all do."""
        taken = len(lines) in self._forms.get(lines[0], {})
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

    __slots__ = ("_known", "data", "head")

    def __init__(self) -> None:
        self.data = b""
        self.head: RequestHead | None = None
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
            self._known = len(self.data)
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
