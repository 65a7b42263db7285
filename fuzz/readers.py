"""The table of readers: everything that is given bytes of a peer, and the only exceptions that it may raise.

``tests/test_readers.py`` holds every reader to its row, with random bytes and with the kept corpus, and fails where a
reader of the product has no row. ``fuzz.one`` runs a row under the coverage-guided fuzzer. The functions check more
than exceptions: that the verdict does not depend on how the bytes were cut, that what we write is read the same again.
An assertion that fails is a find.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

from fuzz.conversation import converse
from fuzz.witness import check_request, check_response
from proxy.agent.keys import read_code
from proxy.agent.talk import LineBuffer, Side, TalkError, read_agent, read_hello, read_message, read_relay, read_welcome
from proxy.config.keys import read_where
from proxy.core import search as search_words
from proxy.core.addresses import AddressSet, Peer, client_address
from proxy.core.causes import DIAGNOSABLE, Case, diagnose
from proxy.core.content import ChunkedDecoder, ContentReader
from proxy.core.exchange import Admit, decide
from proxy.core.forwarding import Provenance, answer_head, upstream_head
from proxy.core.grammar import check_host, parse_target
from proxy.core.handshakes import find_check
from proxy.core.ip_sets import FeedError, Shape, parse_query, read_document
from proxy.core.payload import PayloadRule, Pointer, read_payload
from proxy.core.policy import RouteTable
from proxy.core.proxy_protocol import Header
from proxy.core.proxy_protocol import parse as parse_proxy_header
from proxy.core.pubkey import decode_public_key
from proxy.core.record import read_traceparent
from proxy.core.recurring import HeadForms, plan_of
from proxy.core.request_head import HeadLimits, read_request_head
from proxy.core.response_head import read_response_head
from proxy.core.schemes import PROVIDERS, decode_secret
from proxy.core.signing.documents import both_ports, read_claims, read_form, read_json, sorted_url
from proxy.core.signing.documents import read_document as read_json_document
from proxy.core.signing.parsed import open_token
from proxy.core.signing.proof import TokenCheck, TokenKind
from proxy.core.signing.scheme import (
    Encoding,
    Method,
    Secret,
    SecretForm,
    TimeFormat,
    decode,
    decode_base64,
    decode_base64url,
    decode_hex,
    parse_time,
)
from proxy.core.signing.template import AsciiJson, Crc32, JsonString
from proxy.errors import Mistake, ProtocolError
from proxy.http1 import Framing, RequestHead
from proxy.net.beyond_ssl import parse_certificate, read_certificate
from proxy.ops.worker_processes import ChannelError, Lines
from proxy.reasons import Reason
from proxy.tools.saved_delivery import read_saved
from tests.deliveries import NOW, check_for, make
from tests.net.dialogue import ROUTES, policy, route

LIMITS = HeadLimits(max_head=16384, max_target=8192, max_fields=100)
HOST = b"hooks.example.com"
SECRETS = (Secret("a", b"sesame"), Secret("b", b"user:pass"))
SIGNING = [slug for slug, provider in PROVIDERS.items() if provider.scheme is not None]
CHECKS = {slug: check_for(PROVIDERS[slug], make(slug).secret) for slug in SIGNING}
POLICY = policy(*ROUTES, route(b"/hook/deep", provider="slack"), route(b"/", signed=False, exact=True))
TABLE = RouteTable(POLICY.routes)
PAYLOAD_TYPES = (b"application/json", b"application/x-www-form-urlencoded", b"text/plain; charset=x")
PAYLOAD_RULE = PayloadRule(read_where({"a.b": "x*", "c[].d": [1, True, "!y"], "[]": "*"}), Pointer.parse("a[].t"))
PROVENANCE = Provenance(client=b"192.0.2.1", scheme=b"https", request_id=b"r-1", trusted=False, verified=b"x; id=1")


class Row(NamedTuple):
    """One reader or several of a kind; ``covers`` names them without ``proxy.``."""

    read: Callable[[bytes], object]
    errors: tuple[type[Exception], ...]
    covers: tuple[str, ...]


def outcome(read: Callable[[], object]) -> object:
    """What it gives, or the reason of its ProtocolError (which of two flaws is named may depend on the cut)."""
    try:
        return read()
    except ProtocolError as error:
        return error.reason


def check_beginnings(read: Callable[[bytes], object], data: bytes) -> object:
    """The verdict on ``data``; each of its beginnings waits for more or has the same one already."""
    whole = outcome(lambda: read(data))
    for size in {len(data) // 2, len(data) - 1, data.find(b"\n") + 1, data.find(b" ")} - {-1}:
        part = outcome(lambda size=size: read(data[:size]))  # type: ignore[misc]
        assert part is None or part == whole, (part, whole)
    return whole


# -- heads


def request_head(data: bytes) -> None:
    found = check_beginnings(lambda part: read_request_head(part, LIMITS), data)
    if not isinstance(found, tuple) or not isinstance(found[0], RequestHead):
        return
    head, size = found
    assert 0 < size <= len(data)
    check_request(head, data[:size])
    written = upstream_head(head, head.target, PROVENANCE, head.content_length, authority=b"app")
    again = read_request_head(written, HeadLimits(1 << 20, 8192, 200))
    assert again is not None
    ours, length = again
    assert length == len(written)
    assert (ours.method, ours.target, ours.minor) == (head.method, head.target, 1)
    assert ours.host == (head.host or b"app")
    chunked = head.content_length is None
    assert (ours.framing is Framing.CHUNKED) == chunked
    assert ours.content_length == (None if chunked else head.content_length or ours.content_length)
    assert all(not lower.strip(b"-0123456789abcdefghijklmnopqrstuvwxyz") for lower, _ in ours.fields)


def head_forms(data: bytes) -> None:
    """A head that has a form, and each of its lines in turn as the data write it: what is read by the form is what is
    read without it.
    """
    lines = [b"POST /hook HTTP/1.1", b"Host: a", b"X-Id: 1", b"Content-Length: 2", b"X-Signature: s", b"Accept: */*"]
    read = read_request_head(b"\r\n".join([*lines, b"\r\n"]), LIMITS)
    assert read is not None
    forms = HeadForms(LIMITS, [b"x-signature"])
    forms.learn(read[0], b"/hook")
    for place in range(len(lines)):
        for written in (data, lines[place] + data, lines[place].partition(b":")[0] + b": " + data):
            wire = b"\r\n".join([*lines[:place], written, *lines[place + 1 :], b"\r\n"])
            assert outcome(lambda wire=wire: forms.read(wire)) == outcome(  # type: ignore[misc]
                lambda wire=wire: read_request_head(wire, LIMITS)  # type: ignore[misc]
            )
    assert outcome(lambda: forms.read(data)) == outcome(lambda: read_request_head(data, LIMITS))


def response_head(data: bytes) -> None:
    for method in (b"POST", b"HEAD"):
        found = check_beginnings(lambda part, method=method: read_response_head(part, method), data)  # type: ignore[misc]
        if isinstance(found, tuple):
            head, size = found
            check_response(head, data[:size], method)
            written = answer_head(head, head.framing, b"now", close=False)
            again = read_response_head(written, method)
            assert again is not None
            assert (again[0].status, again[1]) == (head.status, len(written))


def target(data: bytes) -> None:
    method, _, rest = data.partition(b" ")
    outcome(lambda: check_host(rest))
    found = outcome(lambda: parse_target(method, rest, HOST))
    if isinstance(found, tuple) and isinstance(found[0], bytes):
        assert parse_target(method, found[0], HOST) == found
        assert found[0] == (found[1] if found[2] is None else found[1] + b"?" + found[2])


# -- content


def decode_chunks(pieces: list[bytes]) -> object:
    decoder = ChunkedDecoder(1 << 20)
    content = b"".join(map(decoder.feed, pieces))
    return content, decoder.done, decoder.rest


def chunked(data: bytes) -> None:
    whole = outcome(lambda: decode_chunks([data]))
    assert outcome(lambda: decode_chunks([data[at : at + 1] for at in range(len(data))])) == whole
    head = RequestHead(b"POST", b"/", 1, [], [], b"/", None, HOST, Framing.CHUNKED, None, True, False, {})
    reader = ContentReader(head, 1 << 20)
    read = outcome(lambda: reader.feed(memoryview(bytearray(data))))
    if isinstance(whole, tuple) and isinstance(whole[0], bytes):
        assert (read, reader.ended, reader.rest) == whole


# -- addresses


def proxy_header(data: bytes) -> None:
    found = check_beginnings(
        lambda part: None if not isinstance(got := parse_proxy_header(part), Header) else got, data
    )
    if isinstance(found, Header):
        assert 0 < found.length <= len(data)


def addresses(data: bytes) -> None:
    text = data.decode("latin-1")
    trusted = AddressSet.parse(["10.0.0.0/8", "2001:db8::/32", "unix:"])
    for peer in (Peer.of("10.0.0.1"), Peer.unix(), Peer.of("192.0.2.1")):
        client_address(peer, data.split(b"\n"), trusted)
    peer = Peer.of(text)
    assert Peer.of(peer.text) == peer
    AddressSet.parse(text.split("\n"))


# -- what proves a sender


def tokens(data: bytes) -> None:
    query, _, value = data.partition(b"\n")
    found = outcome(
        lambda: read_request_head(b"POST /a?%b HTTP/1.1\r\nHost: a\r\nX-T: %b\r\n\r\n" % (query, value), LIMITS)
    )
    if not isinstance(found, tuple) or not isinstance(found[0], RequestHead):
        return
    for kind, name in ((TokenKind.QUERY, b"token"), (TokenKind.HEADER, b"x-t"), (TokenKind.BEARER, b"x-t")):
        check = TokenCheck(kind, name, SECRETS)
        assert isinstance(check.check(found[0], 0.0), str | Reason)
        stripped = check.strip(found[0].target)
        assert check.strip(stripped) == stripped
    TokenCheck(TokenKind.BASIC, b"x-t", SECRETS[1:]).check(found[0], 0.0)


def head_with(slug: str, lines: list[bytes], body: bytes) -> RequestHead | None:
    """A head with these lines; ``0: x`` is the first header that the provider's scheme reads, and so on."""
    scheme = PROVIDERS[slug].scheme
    assert scheme is not None
    names = sorted(scheme.header_names)
    fields = [b"POST /in/here?x=1 HTTP/1.1", b"Host: hooks.example.com", b"Content-Length: %d" % len(body)]
    for line in lines:
        name, colon, value = line.partition(b":")
        known = name.isdigit() and len(name) < 3 and int(name) < len(names)
        fields.append((names[int(name)] if known else name) + colon + value)
    try:
        found = read_request_head(b"\r\n".join(fields) + b"\r\n\r\n", LIMITS)
    except ProtocolError:
        return None
    return found[0] if found else None


def signatures(data: bytes) -> None:
    """The first byte chooses the provider; then field lines, an empty one, and the body."""
    slug = SIGNING[data[0] % len(SIGNING)] if data else SIGNING[0]
    lines, _, body = data[1:].partition(b"\n\n")
    head = head_with(slug, lines.split(b"\n") if lines else [], body)
    if head is None:
        return
    check = CHECKS[slug]
    for now in (0.0, float(NOW), 1e11):
        verification = check.begin(head, now)
        verdict: object = verification
        if not isinstance(verification, Reason):
            verification.update(body[: len(body) // 2])
            verification.update(body[len(body) // 2 :])
            verdict = verification.finish()
        assert isinstance(verdict, str | Reason)
    guarded = route(signature=check, provider=slug)
    for reason in sorted(DIAGNOSABLE, key=lambda one: one.word)[len(body) % 3 :: 3]:
        found = diagnose(Case(reason, head, body, guarded, (guarded,), float(NOW)))
        assert found is None or found.sentence.isprintable()


def documents(data: bytes) -> None:
    """What providers put into signed texts: JSON, forms, URLs, times, tokens, encodings."""
    read_json(data)
    read_claims(data)
    read_form(data)
    open_token(data)
    read_traceparent(data)
    url = b"https://hooks.example.com:443/" + data  # the authority is configured, never a sender's
    for follows in (False, True):
        sorted_url(url, form_follows=follows)
    assert len(both_ports(url)) >= 1
    for form in TimeFormat:
        said = parse_time(form, data)
        assert said is None or isinstance(said, float | int)
    decode_hex(data)
    for value in (decode_base64(data), decode_base64url(data), *(decode(one, data, None) for one in Encoding)):
        assert value is None or value
    for transform in (JsonString, AsciiJson, Crc32):
        whole, cut = transform(), transform()
        assert whole.feed(data) + whole.finish() == cut.feed(data[:7]) + cut.feed(data[7:]) + cut.finish()


def payloads(data: bytes) -> None:
    """The first byte chooses the type of the content; what is left is the body."""
    kind = PAYLOAD_TYPES[data[0] % len(PAYLOAD_TYPES)] if data else b""
    parsed = read_request_head(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Type: %b\r\n\r\n" % kind, LIMITS)
    assert parsed is not None
    head, body = parsed[0], data[1:]
    document = read_payload(head, body)
    assert read_json_document(body) is None or kind.endswith(b"urlencoded") or document is not None
    selection = PAYLOAD_RULE.judge(head, body)
    assert (document is None) <= (selection.reason is not None)
    selection.event.encode("utf-8")


def decisions(data: bytes) -> None:
    found = outcome(lambda: read_request_head(data, LIMITS))
    if isinstance(found, tuple) and isinstance(found[0], RequestHead):
        for trusted in (False, True):
            decision = decide(found[0], Peer.of("192.0.2.1"), POLICY, TABLE, float(NOW), trusted=trusted)
            plan = plan_of(POLICY, decision, found[0]) if isinstance(decision, Admit) and not trusted else None
            assert plan is None or found[0].content_length is None or plan.begin(found[0], float(NOW)) is not None
        for one in POLICY.routes:
            find_check(one, found[0])


# -- files and neighbours


def saved(data: bytes) -> None:
    read_saved(data)


def search(data: bytes) -> None:
    text = data.decode("utf-8", "replace")
    record = {
        "route": text[:20],
        "ip": text[:15],
        "status": 200,
        "duration_s": 1.0,
        "size": 7,
        "time": 0.0,
        "text": text,
    }
    search_words.parse_query(text, 1_800_000_000.0).matches(record)


def keys(data: bytes) -> None:
    slug = SIGNING[data[0] % len(SIGNING)] if data else SIGNING[0]
    scheme = PROVIDERS[slug].scheme
    assert scheme is not None
    text = data[1:]
    if Method.HMAC is not scheme.method:
        for form in SecretForm:
            outcome_of_key(form, scheme.method, text)
    scheme.split_key(decode_secret(PROVIDERS[slug], text))


def outcome_of_key(form: SecretForm, method: Method, text: bytes) -> None:
    try:
        decode_public_key(form, method, text)
    except ValueError:
        return


def feeds(data: bytes) -> None:
    path, _, document = data.partition(b"\n")
    text = path.decode("latin-1")
    for read in (lambda: parse_query(text), lambda: read_document(document, None), lambda: read_document(data, None)):
        try:
            read()
        except ValueError:
            continue
    read_document(document, Shape.parse(text))


def certificates(data: bytes) -> None:
    try:
        parse_certificate(data)
    except ValueError:
        read_certificate(data.decode("latin-1"))


def channel(data: bytes) -> None:
    lines = Lines()
    lines.feed(data[: len(data) // 3])
    lines.feed(data[len(data) // 3 :])


def agent(data: bytes) -> None:
    """All that an agent and its relay say to each other: the same lines however they are cut, and each read by both."""
    whole = _lines([data])
    assert _lines([data[:7], data[7:]]) == whole
    for words in whole:
        for read in (read_hello, read_relay, read_agent, read_welcome):
            with suppress(TalkError):
                read(words)
        for side in Side:
            with suppress(TalkError):
                assert read_message(words, side).write().decode().split() == words
    with suppress(Mistake):
        code = read_code(data.decode("latin-1"))
        assert read_code(code.write()) == code


def _lines(pieces: list[bytes]) -> list[list[str]]:
    buffer, found = LineBuffer(), []
    with suppress(TalkError):
        for piece in pieces:
            buffer.feed(piece)
            while (words := buffer.take()) is not None:
                found.append(words)
    return found


PLANS = ("signing.mac.MacPlan", "signing.mac.PlainPlan", "signing.parsed.JwtPlan", "signing.parsed.DocumentPlan")
READERS: dict[str, Row] = {
    "request_head": Row(request_head, (), ("core.request_head.read_request_head",)),
    "head_forms": Row(head_forms, (), ("core.recurring.HeadForms.read",)),
    "response_head": Row(response_head, (), ("core.response_head.read_response_head",)),
    "target": Row(target, (), ("core.grammar.parse_target", "core.grammar.check_host")),
    "chunked": Row(chunked, (), ("core.content.ChunkedDecoder.feed", "core.content.ContentReader.feed")),
    "proxy_header": Row(proxy_header, (), ("core.proxy_protocol.parse",)),
    "addresses": Row(addresses, (ValueError,), ("core.addresses.AddressSet.parse",)),
    "tokens": Row(tokens, (), ("core.signing.proof.TokenCheck.check", "core.signing.proof.TokenCheck.strip")),
    "signatures": Row(
        signatures,
        (),
        (
            *(f"core.{plan}.begin" for plan in PLANS),
            *(
                "core.signing.proof.SignatureCheck.begin",
                "core.signing.proof.Plan.begin",
                "core.pubkey.DigestPlan.begin",
            ),
            *("core.signing.evidence.EvidenceReader.read", "core.signing.evidence.EvidenceReader.parse"),
            *("core.signing.evidence.EvidenceReader.read_bare", "core.signing.evidence.read_listing"),
            "core.causes.diagnose",
        ),
    ),
    "documents": Row(
        documents,
        (),
        (
            *(f"core.signing.documents.{name}" for name in ("read_json", "read_claims", "read_form")),
            *(f"core.signing.scheme.{name}" for name in ("decode", "decode_hex", "decode_base64", "decode_base64url")),
            *(f"core.signing.template.{name}.feed" for name in ("Transform", "JsonString", "AsciiJson", "Crc32")),
            *("core.signing.parsed.open_token", "core.signing.scheme.parse_time", "core.record.read_traceparent"),
        ),
    ),
    "decisions": Row(
        decisions, (), ("core.exchange.decide", "core.handshakes.find_check", "core.recurring.DeliveryPlan.begin")
    ),
    "conversation": Row(converse, (), ("core.body.BodyGate.feed",)),
    "saved": Row(
        saved, (ValueError,), ("tools.saved_delivery.read_saved", "tools.pasted.read_curl", "tools.pasted.read_page")
    ),
    "payloads": Row(payloads, (), ("core.payload.read_payload", "core.signing.documents.read_document")),
    "search": Row(search, (search_words.SearchError,), ("core.search.parse_query",)),
    "keys": Row(
        keys,
        (ValueError,),
        (
            "core.schemes.provider.decode_secret",
            "core.pubkey.decode_public_key",
            "core.signing.scheme.Scheme.split_key",
        ),
    ),
    "feeds": Row(
        feeds,
        (FeedError, ValueError),
        ("core.ip_sets.read_document", "core.ip_sets.parse_query", "core.ip_sets.Shape.parse"),
    ),
    "certificates": Row(
        certificates, (ValueError,), ("net.beyond_ssl.parse_certificate", "net.beyond_ssl.read_certificate")
    ),
    "agent": Row(
        agent,
        (),
        (
            *(f"agent.talk.read_{name}" for name in ("hello", "relay", "agent", "welcome")),
            *("agent.talk.read_message", "agent.keys.read_code", "agent.talk.LineBuffer.feed"),
        ),
    ),
    "channel": Row(channel, (ChannelError,), ("ops.worker_processes.Lines.feed",)),
}


def run(name: str, data: bytes) -> None:
    """Read ``data`` as the row says; raises what the row does not allow."""
    row = READERS[name]
    try:
        row.read(data)
    except row.errors:
        return
