"""``RequestStream``: what a client has sent and we have not used yet. Heads are taken off it, and whole bodies."""

from __future__ import annotations

from proxy.core.head_forms import HeadForms
from proxy.http1 import Framing, RequestHead


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
