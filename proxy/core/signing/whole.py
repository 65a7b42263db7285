"""Schemes that need the body in one piece: it must be parsed to know what was signed, or the method wants it whole.

Such a route holds its body, and ``max_body`` bounds it. ``documents`` parses.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Sequence

from proxy.core.signing.documents import (
    FormPart,
    JsonPart,
    Part,
    both_ports,
    contains,
    list_items,
    read_form,
    read_json,
)
from proxy.core.signing.evidence import MALFORMED, MISSING, Evidence, EvidenceReader
from proxy.core.signing.mac import Judge, Verification
from proxy.core.signing.scheme import Document, Method, Scheme
from proxy.core.signing.template import FOUND_IN_BODY, Context, Slot, single_param
from proxy.http1 import Piece, RequestHead
from proxy.reasons import Reason


class WholeVerification(Verification):
    """Lets ``judge`` say what it makes of the body; where that comes in chunks, they are kept."""

    __slots__ = ("_chunks", "_judge", "_marks")
    wants_whole = True

    def __init__(self, judge: Callable[[bytes], str | Reason], marks: list[bytes]) -> None:
        """``judge`` puts into ``marks`` what it finds right."""
        self._judge = judge
        self._marks = marks
        self._chunks: list[bytes] = []

    def update(self, chunk: Piece) -> None:
        """Take the next bytes of the raw body."""
        self._chunks.append(bytes(chunk))

    def finish(self) -> str | Reason:
        """The name of the secret that matched, or why none did."""
        return self._judge(b"".join(self._chunks))

    def verify(self, body: bytes) -> str | Reason:
        """``update`` and ``finish`` in one call, for a body that is there whole."""
        return self._judge(body)

    def marks(self) -> list[bytes]:
        """What was found right."""
        return self._marks


class PlainPlan:
    """A method that takes its message in one piece: the template around the raw body."""

    __slots__ = ("_judge", "_reader", "_scheme")

    whole_body = True

    def __init__(self, scheme: Scheme, reader: EvidenceReader, judge: Judge) -> None:
        self._scheme = scheme
        self._reader = reader
        self._judge = judge

    def begin(self, head: RequestHead, now: float) -> Verification | Reason:
        """The check of the body that follows ``head``, or why there is nothing to check."""
        evidence = self._reader.read(head, now)
        if isinstance(evidence, Reason):
            return evidence
        prefix = evidence.context.render(self._reader.prefix)
        if isinstance(prefix, Reason):
            return prefix
        suffix = evidence.context.render(self._reader.suffix)
        if isinstance(suffix, Reason):
            return suffix
        signatures = evidence.signatures
        marks: list[bytes] = []

        def judge(body: bytes) -> str | Reason:
            message = b"".join((prefix, body, suffix))  # which lets other threads run, unlike +
            match = self._judge.match(message, signatures, self._scheme.algorithm, now)
            if match is None:
                return Reason.SIGNATURE_MISMATCH
            marks.append(hashlib.sha256(message).digest())
            return match.name

        return WholeVerification(judge, marks)


class DocumentPlan:
    """A scheme whose signed text is made from the parsed body."""

    __slots__ = ("_document", "_in_body", "_judge", "_needle", "_reader", "_scheme", "_topics")

    whole_body = True

    def __init__(
        self, scheme: Scheme, document: Document, reader: EvidenceReader, judge: Judge, topics: Sequence[str]
    ) -> None:
        """``topics`` are those that the route lists, where the document names one."""
        self._topics = frozenset(topic.encode("utf-8") for topic in topics)
        self._scheme = scheme
        self._document = document
        name = document.signature if document.items is None else None
        self._needle = None if name is None else name.rpartition(".")[2].encode("ascii")
        self._in_body = [part for part in reader.prefix if isinstance(part, Slot) and part.kind in FOUND_IN_BODY]
        self._reader = reader
        self._judge = judge

    def begin(self, head: RequestHead, now: float) -> Verification | Reason:
        """The check of the body that follows ``head``, or why there is nothing to check."""
        evidence = self._reader.read(head, now)
        if isinstance(evidence, Reason):
            return evidence
        marks: list[bytes] = []
        return WholeVerification(lambda body: self._judge_body(evidence, body, now, marks), marks)

    def _judge_body(self, evidence: Evidence, body: bytes, now: float, marks: list[bytes]) -> str | Reason:
        said = self._said_digest(evidence.context.head)
        if isinstance(said, Reason):
            return said
        if said is not None:
            return self._judge_url(evidence, said, body, now, marks)
        if self._needle is not None and not contains(body, self._needle):
            return MISSING  # before anything is parsed
        parts = self._open(body)
        if isinstance(parts, Reason):
            return parts
        verdict: str | Reason = MALFORMED
        for part in reversed(parts):  # so that the first one's secret is the one that is named
            verdict = self._judge_part(evidence, part, now, marks)
            if isinstance(verdict, Reason):
                return verdict
        return verdict

    def _said_digest(self, head: RequestHead) -> bytes | Reason | None:
        """The body's digest, where the signed URL holds one."""
        key = self._document.url_digest
        if key is None:
            return None
        said = single_param(head.query, key)
        if isinstance(said, Reason):
            return MALFORMED if said is MALFORMED else None
        # The provider adds it at the end. A text that was signed for a form may hold one anywhere else.
        last = (head.query or b"").rpartition(b"&")[2]
        return said if last == b"%b=%b" % (key, said) else MALFORMED

    def _open(self, body: bytes) -> list[Part] | Reason:
        if self._document.kind == "form":
            form = read_form(body)
            return MALFORMED if form is None else [FormPart(form, self._document)]
        tree = read_json(body)
        if tree is None:
            return MALFORMED
        elements = [tree] if self._document.items is None else list_items(tree, self._document.items)
        return [JsonPart(element, self._document) for element in elements] if elements else MALFORMED

    def _judge_part(self, evidence: Evidence, part: Part, now: float, marks: list[bytes]) -> str | Reason:
        document = self._document
        signatures = evidence.signatures if document.signature is None else self._signatures(evidence, part)
        if isinstance(signatures, Reason):
            return signatures
        refused = None
        if document.timestamp is not None:
            refused = self._reader.judge_text(part.text(document.timestamp) or b"", now)
        refused = refused or self._judge_place(evidence.context.head, part)
        if refused is not None:
            return refused
        algorithm = self._algorithm(part)
        messages = self._messages(evidence, part)
        if algorithm is None or isinstance(messages, Reason):
            return MALFORMED
        return self._match(messages, signatures, algorithm, now, marks)

    def _signatures(self, evidence: Evidence, part: Part) -> list[bytes] | Reason:
        """Those in the body."""
        text = part.text(self._document.signature or "")
        if not text:
            return MISSING
        if self._scheme.method is Method.EQUAL:
            return [text]
        read = self._reader.parse(text, evidence.context)
        return MALFORMED if read is None else read

    def _judge_place(self, head: RequestHead, part: Part) -> Reason | None:
        """Why the document is none of the route's, or is not what the head says of it."""
        document = self._document
        if document.topic is not None and part.text(document.topic) not in self._topics:
            return Reason.SIGNATURE_MISMATCH
        for name, path in document.echoes:
            said = head.values.get(name)
            if name in head.repeated or (said is not None and said != part.text(path)):
                return MALFORMED
        return None

    def _match(
        self, messages: list[bytes], signatures: list[bytes], algorithm: str, now: float, marks: list[bytes]
    ) -> str | Reason:
        name: str | None = None
        for message in messages:
            match = self._judge.match(message, signatures, algorithm, now)
            if match is not None and name is None:
                name = match.name
                if self._scheme.method is not Method.EQUAL:  # a word that every delivery repeats marks none
                    marks.append(hashlib.sha256(message).digest())
        return Reason.SIGNATURE_MISMATCH if name is None else name

    def _algorithm(self, part: Part) -> str | None:
        document = self._document
        if document.algorithm_by is None:
            return self._scheme.algorithm
        word = (part.text(document.algorithm_by) or b"").decode("utf-8", "replace")
        return dict(document.algorithms).get(word)

    def _ends_its_url(self, part: Part, context: Context) -> bool:
        if not isinstance(part, FormPart) or not self._scheme.signs_url or self._reader.whole_url:
            return True
        sorts_query = "{sorted_url}" in self._scheme.signed
        return part.ends_its_url(context.url, context.head.method, sorts_query=sorts_query)

    def _messages(self, evidence: Evidence, part: Part) -> list[bytes] | Reason:
        """The texts that may have been signed."""
        context = evidence.context
        if not self._ends_its_url(part, context):
            return MALFORMED
        found = {(slot.kind, slot.name): part.slot(slot, context.url) for slot in self._in_body}
        context.document = {slot: value for slot, value in found.items() if value is not None}
        if len(context.document) < len(found):
            return MALFORMED
        messages: list[bytes] = []
        for url in both_ports(context.url) if self._document.either_port else [context.url]:
            context.url = url
            message = context.render(self._reader.prefix)
            if isinstance(message, Reason):
                return message
            messages.append(message)
        return messages + [message + b"\n" for message in messages if self._document.newline]

    def _judge_url(self, evidence: Evidence, said: bytes, body: bytes, now: float, marks: list[bytes]) -> str | Reason:
        """The URL alone is signed, and carries the digest of the body."""
        url = evidence.context.url
        urls = both_ports(url) if self._document.either_port else [url]
        verdict = self._match(urls, evidence.signatures, self._scheme.algorithm, now, marks)
        digest = hashlib.sha256(body).hexdigest().encode("ascii")
        return verdict if hmac.compare_digest(digest, said) else Reason.SIGNATURE_MISMATCH
