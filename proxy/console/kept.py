"""``KeptExchange``: one exchange as the console keeps it, and as it shows it, masked.

What came is kept as it came, in memory alone, because replay needs it; whatever leaves goes through ``Masking``. The
mappings made here are the API's (``openapi``). Nothing here knows a socket.

``Masking`` is the one gate through which anything of a delivery leaves the console: secrets, signatures, tokens,
cookies and credentials are masked, in fields, in the query and in the body, and there is no way around it. Masked is
what stands where a guard of the route looks for its proof, what a name says is a credential, and every occurrence of a
secret that the route has. How long it was stays visible, and so does a word such as ``sha256=`` before it. Bodies stay
as they came but for that.
"""

from __future__ import annotations

import json
import re
from base64 import b64encode
from contextlib import suppress
from urllib.parse import unquote_to_bytes

from proxy.config.notation import took
from proxy.core.addresses import Peer
from proxy.core.grammar import TOKEN_SEGMENT
from proxy.core.policy import Policy, Route
from proxy.core.record import ExchangeRecord, agent_of
from proxy.core.request_head import HeadLimits, read_request_head
from proxy.core.signing.proof import TokenKind
from proxy.core.signing.scheme import Document, Secret
from proxy.core.tape import Ledger, Tape
from proxy.core.walk import ADMITTED, Trip, Walk, walk
from proxy.http1 import Field, Framing, RequestHead, ResponseHead, phrase_of, value_of
from proxy.reasons import Ended, Reason

#: Names of fields and parameters that hold credentials, whoever reads them.
_NAMES = re.compile(
    rb"auth|cookie|credential|token|secret|signature|password|passwd|passphrase|session|api-?_?key"
    rb"|access-?_?key|private-?_?key|(?:^|[-_])(?:sig|sign|pass|pwd|key|hmac|digest|mac|jwt|code)$|csrf|xsrf|x-amz-security",
    re.IGNORECASE,
)
#: Those that only look like it.
_HARMLESS = frozenset({b"content-digest", b"digest", b"author", b"authority"})
_PREFIX = re.compile(rb"[A-Za-z0-9_-]{1,12}[= ]")
#: A signature in a body, where it is written as its provider writes it; the body may be cut behind it.
_IN_JSON = rb'("%b"\s*:\s*")((?:[^"\\]|\\.)*+)'
_IN_FORM = rb"((?:^|&)%b=)([^&]++)"
#: A shorter secret stands in too many places by chance, and is no secret.
_LEAST = 8
_MOST_ROUTES = 4096


def mask_of(size: int) -> bytes:
    """What stands in the place of so many bytes."""
    return b"[masked, %d bytes]" % size


def masked(value: bytes) -> bytes:
    """A credential, masked; the word before it stays where the rest is long enough to be the proof."""
    prefix = _PREFIX.match(value)
    if prefix is not None and len(value) - prefix.end() >= 2 * _LEAST:
        return prefix[0] + mask_of(len(value) - prefix.end())
    return mask_of(len(value)) if value else value


class Masking:
    """What is masked in deliveries of one route; of none, for what no route took."""

    def __init__(self, route: Route | None) -> None:
        self._names: frozenset[bytes] = frozenset()
        self._params: frozenset[bytes] = frozenset()
        self._document: Document | None = None
        self._path_map = None if route is None else route.path_map
        self._secrets: tuple[bytes, ...] = ()
        if route is not None:
            self._learn(route)

    def _learn(self, route: Route) -> None:
        known: list[Secret] = []
        if route.signature is not None:
            self._names |= frozenset(route.signature.scheme.headers)
            self._document = route.signature.scheme.document
            known += route.signature.secrets
        if route.token is not None:
            if route.token.kind is TokenKind.QUERY:
                self._params = frozenset({route.token.name})
            else:
                self._names |= {route.token.name}
            known += route.token.secrets
        parts = {part for one in known for part in (one.value, *one.value.split(b":", 1))} | {route.verify_token or b""}
        self._secrets = tuple(sorted((one for one in parts if len(one) >= _LEAST), key=len, reverse=True))

    def field(self, name: bytes, value: bytes) -> bytes:
        """The value of a field line; ``name`` in lower case."""
        if name not in _HARMLESS and (name in self._names or _NAMES.search(name) is not None):
            return masked(value)
        return self.text(value)

    def fields(self, fields: list[Field]) -> list[tuple[bytes, bytes]]:
        """(name as it was sent, value masked) of each field line."""
        return [(entry[1][: len(entry[0])], self.field(entry[0], value_of(entry))) for entry in fields]

    def target(self, target: bytes) -> bytes:
        """A request target, with the values of its credentials masked."""
        path, mark, query = target.partition(b"?")
        if self._path_map is not None and self._path_map.owns(path):
            # What is no secret of ours may be one with a letter too few, and then what follows is not shown either.
            token = unquote_to_bytes(path[len(self._path_map.prefix) :].partition(b"/")[0])
            path = self._path_map.shown(path, proved=token == TOKEN_SEGMENT or token in self._secrets)
        pairs = [self._pair(pair) for pair in query.split(b"&")] if mark else []
        return self.text(path + mark + b"&".join(pairs))

    def _pair(self, pair: bytes) -> bytes:
        name, sign, value = pair.partition(b"=")
        plain = unquote_to_bytes(name)
        if value and (plain in self._params or _NAMES.search(plain) is not None):
            return name + sign + masked(value)
        return pair

    def body(self, body: bytes) -> bytes:
        """Content, whole or cut, with the signature that is in it and secrets masked."""
        document = self._document
        if document is not None and document.signature is not None:
            if document.kind == "jwt":
                return masked(body)
            key = document.signature.rpartition(".")[2].encode()
            pattern = _IN_FORM if document.kind == "form" else _IN_JSON
            body = re.sub(pattern % re.escape(key), lambda found: found[1] + mask_of(len(found[2])), body)
        return self.text(body)

    def text(self, text: bytes) -> bytes:
        """Any text, with the route's secrets masked."""
        for secret in self._secrets:
            if secret in text:
                text = text.replace(secret, mask_of(len(secret)))
        return text


class Maskings:
    """One for each route that is asked for. What routes no longer exist, nor deliveries of theirs, is forgotten."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[Route | None, Masking]] = {}

    def of(self, route: Route | None) -> Masking:
        """What is masked in deliveries of ``route``."""
        found = self._known.get(id(route))
        if found is None:
            if len(self._known) >= _MOST_ROUTES:
                self._known.clear()
            # The route is kept with it, so that no other one can have its id.
            found = self._known[id(route)] = (route, Masking(route))
        return found[1]


Json = dict[str, object]

#: Of a body, so much is searched; longer ones are hardly read by people.
SEARCHED_BYTES = 256 * 1024
_ANY_HEAD = HeadLimits(max_head=1 << 22, max_target=1 << 20, max_fields=1000)
#: What one takes besides its bytes, about.
OVERHEAD_BYTES = 3000


class KeptExchange(Tape):
    """One exchange: its tape, and once it has ended what is known of it."""

    __slots__ = ("line", "number", "raw", "record", "replay_of", "route", "size", "tag")

    tag: str  # of the worker
    number: int  # from 1, in the order of that worker
    record: ExchangeRecord
    route: Route | None
    raw: bytes  # the head; b"" where the bytes were none, and then the body is what came
    size: int  # in bytes, of all of it
    replay_of: str  # the id of the delivery that it repeats
    line: str | None  # its summary as JSON, for those that look on

    def __init__(self, ledger: Ledger) -> None:
        super().__init__(ledger)
        self.line = None

    @property
    def head(self) -> RequestHead | None:
        """The head, read once more; None where the bytes were none."""
        # As bytes it is one object, and not some fifty that are cold when they are freed.
        parsed = read_request_head(self.raw, _ANY_HEAD) if self.raw else None
        return None if parsed is None else parsed[0]

    @property
    def id(self) -> str:
        """Its name: by it they sort in the order of their ends, to a millisecond."""
        return f"{round(self.at * 1000):012x}-{self.tag}-{self.number:x}"

    @property
    def at(self) -> float:
        """When it ended, in seconds since the epoch."""
        return self.record.started + self.record.duration_s

    @property
    def content(self) -> bytes:
        """The content that was kept, as it came."""
        return b"".join(self.body)

    @property
    def answer_content(self) -> bytes:
        """The beginning of the answer's content."""
        return b"".join(self.answer)

    @property
    def is_whole(self) -> bool:
        """Whether all of the request is here, so that it can be sent again."""
        head = self.head
        if head is None or self.cut:
            return False
        # What a refusal by the head leaves unread is not counted: there the head says how much it would be.
        length = head.content_length if head.framing is Framing.LENGTH else self.record.bytes_in
        return self.tape_bytes == length and (head.framing is not Framing.CHUNKED or self.record.bytes_in > 0)

    @property
    def tape_bytes(self) -> int:
        """How much of the content is here."""
        return sum(map(len, self.body))


def shown_target(kept: KeptExchange, head: RequestHead, masking: Masking) -> bytes:
    """The target, with what is secret in it masked; the path as the log has it, where a token is in that."""
    path, mark, query = head.target.partition(b"?")
    shown = kept.record.path.encode("ascii", "backslashreplace")
    return masking.target((shown or path) + mark + query)


#: What a list shows, and search words look at, as the record has it; and what a list alone shows so.
_TOLD = ("request_id", "route", "provider", "event", "delivery_id", "verdict", "status", "method", "path", "host")
_SHOWN = ("detail", "why", "mend", "client", "peer", "upstream", "user_agent")


def summary(kept: KeptExchange) -> Json:
    """The row of a list."""
    record = kept.record
    return {
        **_told(kept),
        **{name: getattr(record, name) for name in _SHOWN},
        "verdict": record.verdict or ("refused" if record.reason is not Reason.DELIVERED else ""),
        "diagnosis": record.cause,
        "observed": None if record.observed is None else record.observed.word,
        "duration_s": round(record.duration_s, 6),
        "upstream_duration_s": round(record.upstream_duration_s, 6),
        "replay_of": kept.replay_of or None,
    }


def _told(kept: KeptExchange) -> Json:
    record = kept.record
    return {
        **{name: getattr(record, name) for name in _TOLD},
        "id": kept.id,
        "time": record.started,
        "reason": record.reason.word,
        "secret": record.secret_name,
        "agent": agent_of(record.upstream),
        "size": record.bytes_in,
        "duration_s": record.duration_s,
    }


def searched(kept: KeptExchange, masking: Masking, *, text: bool) -> Json:
    """What search words look at (``core.search``). ``text``: the fields and the beginning of the body, too."""
    record = kept.record
    found = {**_told(kept), "ip": record.client}
    if text:
        head = kept.head
        pieces = [] if head is None else [shown_target(kept, head, masking)]
        if head is not None:
            pieces += [b"%b: %b" % pair for pair in masking.fields(head.fields)]
        pieces += [masking.body(kept.content[:SEARCHED_BYTES]), masking.text(kept.answer_content)]
        found["text"] = b"\n".join(pieces).decode("utf-8", "replace")
        found["client"] = record.client
    return found


def detail(kept: KeptExchange, masking: Masking) -> Json:
    """All that is shown of one, but for what the checks find."""
    record, head = kept.record, kept.head
    size = max(record.bytes_in, kept.tape_bytes)  # what came instead of a head is counted nowhere else
    return {
        **summary(kept),
        "scheme": record.scheme,
        "handshake": record.handshake,
        "phase": record.phase.value,
        "ended_by": record.reason.ended_by.value,
        "trace_id": record.trace_id,
        "patience_s": None if kept.route is None or not kept.route.answer_s else kept.route.answer_s,
        "whole": kept.is_whole,
        "request": {
            "method": record.method,
            "target": None if head is None else _text(shown_target(kept, head, masking)),
            "version": f"HTTP/1.{record.minor}",
            "fields": [] if head is None else _fields(masking.fields(head.fields)),
            "body": content(masking.body(kept.content), size, cut=kept.cut, fields=head),
        },
        "answer": _answer(kept, masking),
    }


def _answer(kept: KeptExchange, masking: Masking) -> Json | None:
    record, head = kept.record, kept.reply
    if not record.status:
        return None
    if head is not None and head.status != record.status:
        head = None  # it came, and the client was told something else
    body = b"" if head is None else masking.text(kept.answer_content)
    return {
        "by": "us" if head is None else "application",
        "status": record.status,
        "phrase": _text(phrase_of(record.status) if head is None else masking.text(head.phrase)),
        "fields": [] if head is None else _fields(masking.fields(head.fields)),
        "body": content(body, record.bytes_out, cut=kept.answer_cut and head is not None, fields=head),
    }


def content(body: bytes, size: int, *, cut: bool, fields: RequestHead | ResponseHead | None) -> Json:
    """Content as JSON carries it: text where it is UTF-8, else base64, and what it seems to be."""
    try:
        encoding, text = "utf-8", body.decode("utf-8")
    except UnicodeDecodeError:
        encoding, text = "base64", b64encode(body).decode("ascii")
    kind = (fields.get(b"content-type") or b"").lower() if fields is not None else b""
    form = form_of(body, kind)
    return {"size": size, "kept": len(body), "cut": cut, "encoding": encoding, "form": form, "text": text}


def form_of(body: bytes, kind: bytes) -> str:
    """What a body is best shown as: "json", "form", "text" or "hex"."""
    if not body:
        return "text"
    if b"json" in kind or body.lstrip()[:1] in (b"{", b"["):
        try:
            json.loads(body[:SEARCHED_BYTES])
        except (ValueError, RecursionError):
            return "text" if _is_text(body) else "hex"
        return "json"
    if b"x-www-form-urlencoded" in kind and _is_text(body):
        return "form"
    return "text" if _is_text(body) else "hex"


def _is_text(body: bytes) -> bool:
    try:
        sample = body[:SEARCHED_BYTES].decode("utf-8")
    except UnicodeDecodeError as error:
        return error.start > SEARCHED_BYTES - 4  # a character that the cut went through
    return not any(char < " " and char not in "\t\r\n" for char in sample)


def _text(value: bytes) -> str:
    return value.decode("utf-8", "backslashreplace")


def _fields(fields: list[tuple[bytes, bytes]]) -> list[list[str]]:
    return [[_text(name), _text(value)] for name, value in fields]


# -- What the checks find in a kept delivery, and why it was refused: as ``explain`` has it, as of when it came.
#
# The checks are those that serve, asked again of the bytes that were kept and of the configuration in force. Looking
# for a cause is work: the caller gives it to a thread.

_ENDS = {
    Reason.DELIVERED: "the application answered",
    Reason.FILTERED: "what it says is not what `where` names, so it was answered and not passed on",
    Reason.HANDSHAKE_ANSWERED: "an endpoint check of the provider, which hookward answered",
    Reason.DUPLICATE_DELIVERED: "a duplicate of one that was delivered before",
    Reason.DUPLICATE_IN_FLIGHT: "a duplicate of one that was under way",
}


def evidence_of(kept: KeptExchange, policy: Policy) -> Json:
    """What each check finds, the cause where one is found, and the verdict in a sentence. Takes up to 0.1 s."""
    head, body = (kept.raw, kept.content) if kept.raw else (kept.content, b"")
    peer = None
    with suppress(ValueError):
        peer = peer_of(kept.record.client)
    found = walk(Trip(head, body, policy, kept.record.started, peer))
    record = kept.record
    # The word that the same checks would end with.
    is_admitted = record.verdict == "admitted" and record.reason is not Reason.FILTERED
    cause = None if found.diagnosis is None else {"word": found.diagnosis.word, "sentence": found.diagnosis.sentence}
    return {
        "sentence": sentence(kept, found),
        "checks": [{"name": step.name, "passed": step.passed, "said": step.said} for step in found.steps],
        "cause": cause,
        # Another configuration, or a body that is not here whole, may judge otherwise than was judged then.
        "agrees": found.word == (ADMITTED if is_admitted else record.reason.word),
    }


def sentence(kept: KeptExchange, found: Walk | None = None) -> str:
    """The verdict in one sentence."""
    record = kept.record
    by = f" by the route {record.route}" if record.route else ""
    secret = f" with the secret {record.secret_name}" if record.secret_name else ""
    if record.verdict == "observed" and record.observed is not None:
        return f"Passed on{by}, which only observes; else it would have been refused: {_words(record.observed)}."
    if record.verdict == "admitted":
        end = _ENDS.get(record.reason, _words(record.reason))
        if record.reason is Reason.DELIVERED:
            end = f"{end} {record.status} after {took(record.upstream_duration_s)}"
        return f"Admitted{by}{secret}; {end}."
    if record.verdict == "refused":
        why = "" if found is None or found.diagnosis is None else f" {found.diagnosis.sentence}"
        detail = f" ({record.detail})" if record.detail else ""
        return f"Refused{by} with {record.status}: {_words(record.reason)}{detail}.{why}"
    who = {Ended.SENDER: "the sender", Ended.UPSTREAM: "the application", Ended.US: "hookward"}
    return f"Ended{by} by {who[record.reason.ended_by]} before a verdict: {_words(record.reason)}."


def _words(reason: Reason) -> str:
    return reason.word.replace("_", " ")


def peer_of(name: str) -> Peer:
    """The peer that a record calls so. ValueError where it is none."""
    return Peer.unix() if name.startswith("unix:") else Peer.of(name)
