"""The signature is at fault: another digest, coding, prefix, header, or another text that was signed. Or it is right,
and what it signs is none of the route's.

By its form alone where it is malformed; where it is well formed, by trying it.
"""

from __future__ import annotations

import re
from dataclasses import replace

from proxy.core.causes.trial import Facts, Trial, cause, fitting
from proxy.core.schemes import PROVIDERS
from proxy.core.signing.documents import read_json, scalar_text, walk
from proxy.core.signing.evidence import signature_size
from proxy.core.signing.scheme import Encoding, Method, Scheme, decode
from proxy.http1 import RequestHead
from proxy.reasons import Reason
from proxy.values import frozen

#: Older headers of the same senders, with SHA-1.
_OLD_HEADERS = {b"x-hub-signature-256": b"x-hub-signature", b"x-request-signature-sha-256": b"x-request-signature"}
_PREFIX = re.compile(rb"(?:(?:hmac-)?sha(?:1|256|384|512)(?:hash)?=|v[0-9]{1,2}[=,]|hmac |bearer |s=)?", re.IGNORECASE)
_DIGESTS = {16: "md5", 20: "sha1", 28: "sha224", 32: "sha256", 48: "sha384", 64: "sha512"}
_HEX = frozenset({Encoding.HEX, Encoding.HEX_UPPER, Encoding.HEX_ANY_CASE})
_WRITTEN = {
    Encoding.HEX: "hex in lower case",
    Encoding.HEX_UPPER: "hex in capitals",
    Encoding.HEX_ANY_CASE: "hex",
    Encoding.BASE64: "base64",
    Encoding.BASE64URL: "base64url without padding",
    Encoding.HEX_OR_BASE64: "hex or base64",
}
#: What senders of one's own sign instead of what the scheme says.
_OTHER_TEXTS = (
    "{body}",
    "{timestamp}.{body}",
    "{timestamp}{body}",
    "{timestamp}:{body}",
    "{body}{timestamp}",
    "{body}.{timestamp}",
    "v0:{timestamp}:{body}",
    "{id}.{timestamp}.{body}",
    "{id}{timestamp}{body}",
    "{url}{body}",
    "{body}{url}",
)


@frozen
class _Single:
    """The first signature's header that came, where its value is one signature of a form that we know."""

    scheme: Scheme
    header: str
    value: bytes
    prefix: bytes
    encoding: Encoding
    algorithm: str


def _value(trial: Trial) -> tuple[Scheme, bytes, bytes] | None:
    """(scheme, header, value) of the first signature's header that came."""
    scheme = trial.scheme
    for name in scheme.headers if scheme is not None else ():
        value = trial.head.get(name)
        if value and scheme is not None:
            return scheme, name, value
    return None


def _form_of(scheme: Scheme, value: bytes) -> tuple[bytes, Encoding, str] | None:
    """Prefix, encoding and digest of a value that is one signature; None of a list, or of nothing that we know."""
    if scheme.claims is not None or scheme.envelope is not None:
        return None
    own = scheme.prefix if scheme.prefix and value.startswith(scheme.prefix) else None
    match = _PREFIX.match(value)
    prefix = own if own is not None else match[0] if match is not None else b""
    text = value[len(prefix) :]
    for encoding in (Encoding.HEX, Encoding.HEX_ANY_CASE, Encoding.BASE64, Encoding.BASE64URL):
        signature = decode(encoding, text, None)
        if signature is not None and len(signature) in _DIGESTS:
            return prefix, encoding, _DIGESTS[len(signature)]
    return None


def _single(trial: Trial) -> _Single | None:
    found = _value(trial)
    form = _form_of(found[0], found[2]) if found is not None else None
    return None if found is None or form is None else _Single(found[0], _shown(found[1]), found[2], *form)


@cause(
    "topic_other",
    "The signature with {secret} is right, and the message is of a topic that `topics` does not list.",
    "Add the topic's ARN to `topics` if it is yours: the same key signs for all customers of AWS.",
)
def _of_another_topic(trial: Trial) -> Facts | None:
    document = None if trial.scheme is None else trial.scheme.document
    if document is None or document.topic is None or trial.body is None:
        return None
    topic = scalar_text(walk(read_json(trial.body), document.topic))
    return None if topic is None else fitting([trial.fits(topics=(topic.decode("utf-8", "replace"),))])


@cause(
    "body_no_delivery",
    "The signature with {secret} is right, and the body is none that {title} delivers: it is no object of JSON.",
    "The same key signs other texts, such as challenges and logins, so only objects are taken; send one.",
    Reason.SIGNATURE_MALFORMED,
)
def _other_opening(trial: Trial) -> Facts | None:
    scheme = trial.scheme
    if scheme is None or not scheme.opening or trial.body is None:
        return None
    found = fitting([trial.fits(scheme=replace(scheme, opening=b""))])
    return found and {**found, "title": trial.title}


@cause(
    "header_repeated",
    "The header {header} came more than once.",
    "It must come once: look for a proxy in front that adds it again.",
    Reason.SIGNATURE_MALFORMED,
)
def _repeated(trial: Trial) -> Facts | None:
    names = trial.scheme.header_names if trial.scheme is not None else frozenset()
    twice = sorted(names & trial.head.repeated)
    return {"header": _shown(twice[0])} if twice else None


@cause(
    "header_joined",
    "The header {header} holds several values that were joined with a comma.",
    "It must come once: look for a proxy in front, or a script, that sends it twice.",
    Reason.SIGNATURE_MALFORMED,
)
def _joined(trial: Trial) -> Facts | None:
    found = _value(trial)
    if found is None or found[0].listing is not None or b"," not in found[2]:
        return None
    parts = [part.strip(b" \t") for part in found[2].split(b",")]
    if len(parts) > 8 or any(_form_of(found[0], part) is None for part in parts):
        return None
    return {"header": _shown(found[1])}


@cause(
    "header_constant",
    "The header {header} must say {wanted}.",
    "Another version of the scheme was sent: choose the other provider name, see `hookward providers`.",
    Reason.SIGNATURE_MALFORMED,
    Reason.SIGNATURE_MISSING,
)
def _wrong_constant(trial: Trial) -> Facts | None:
    for name, wanted in trial.scheme.required if trial.scheme is not None else ():
        if trial.head.get(name) != wanted:
            return {"header": _shown(name), "wanted": wanted.decode("latin-1")}
    return None


@cause(
    "sha1_value",
    "The header {header} holds a SHA-1 digest, and the scheme wants {algorithm}.",
    "Compute the signature with the digest of the scheme; if the sender knows SHA-1 alone, such as for github, "
    'use provider = "github_sha1".',
    Reason.SIGNATURE_MALFORMED,
)
def _sha1_value(trial: Trial) -> Facts | None:
    found = _single(trial)
    if found is None or found.algorithm != "sha1" or found.scheme.algorithm == "sha1":
        return None
    return {"header": found.header, "algorithm": _digest(found.scheme.algorithm)}


@cause(
    "digest_other",
    "The header {header} holds a value as long as {other}, and the scheme wants {algorithm}.",
    "Compute the signature with the digest of the scheme.",
    Reason.SIGNATURE_MALFORMED,
)
def _other_digest(trial: Trial) -> Facts | None:
    found = _single(trial)
    if found is None or found.algorithm == found.scheme.algorithm or found.scheme.listing is not None:
        return None
    wanted = _digest(found.scheme.algorithm)
    return {"header": found.header, "other": _digest(found.algorithm), "algorithm": wanted}


@cause(
    "signature_encoding",
    "The signature in {header} is written in {other}, and the scheme wants {encoding}.",
    "Write it as the scheme says; for a sender of your own, set `encoding` in [scheme.NAME].",
    Reason.SIGNATURE_MALFORMED,
)
def _other_encoding(trial: Trial) -> Facts | None:
    found = _single(trial)
    if found is None or found.algorithm != found.scheme.algorithm or found.scheme.listing is not None:
        return None
    came, wanted = found.encoding, found.scheme.encoding
    if decode(wanted, found.value[len(found.prefix) :], signature_size(found.scheme)) is not None:
        return None
    other = "hex in capitals" if came in _HEX and wanted in _HEX else _WRITTEN[came]
    return {"header": found.header, "other": other, "encoding": _WRITTEN[wanted]}


@cause(
    "signature_prefix",
    "Before the signature in {header} must stand {wanted}.",
    "Write the value as the scheme says; for a sender of your own, set `prefix` in [scheme.NAME].",
    Reason.SIGNATURE_MALFORMED,
)
def _other_prefix(trial: Trial) -> Facts | None:
    found = _single(trial)
    if found is None or found.scheme.listing is not None or found.prefix == found.scheme.prefix:
        return None
    wanted = _shown(found.scheme.prefix)
    return {"header": found.header, "wanted": f'"{wanted}"' if wanted else "nothing"}


@cause(
    "signature_no_list",
    "The header {header} holds a bare signature, and the scheme wants a list such as t=...,v1=....",
    "Write the value as the scheme says, or name the provider that sends so.",
    Reason.SIGNATURE_MALFORMED,
)
def _bare_value(trial: Trial) -> Facts | None:
    found = _single(trial)
    listing = None if found is None else found.scheme.listing
    pair = None if listing is None else listing.pair
    if found is None or pair is None or pair in found.value.rstrip(b"="):
        return None
    return {"header": found.header}


@cause(
    "sha1_header",
    "Only the older header {old} came, with SHA-1, and {header} did not.",
    'The sender is old, or a proxy in front dropped the header; provider = "github_sha1" takes the older one.',
    Reason.SIGNATURE_MISSING,
)
def _old_header(trial: Trial) -> Facts | None:
    for name in trial.scheme.headers if trial.scheme is not None else ():
        old = _OLD_HEADERS.get(name)
        value = trial.head.get(old) if old is not None else None
        if value is not None and (value.lower().startswith(b"sha1=") or len(value) == 40):
            return {"header": _shown(name), "old": _shown(old or b"")}
    return None


@cause(
    "header_missing",
    "The signature is there, and {header}, which is signed with it, is not.",
    "A proxy in front drops the header, or the sender forgets it: it must arrive as it was sent.",
    Reason.SIGNATURE_MISSING,
    Reason.TIMESTAMP_MISSING,
)
def _part_missing(trial: Trial) -> Facts | None:
    scheme = trial.scheme
    if scheme is None or not any(trial.head.get(name) for name in scheme.headers):
        return None
    missing = sorted(name for name in scheme.header_names - set(scheme.headers) if not trial.head.get(name))
    return {"header": _shown(missing[0])} if missing else None


@cause(
    "other_scheme",
    "The signature was made with {secret}, as {other} does it.",
    'Write provider = "{slug}".',
)
def _fits_as_other(trial: Trial) -> Facts | None:
    if not trial.keyed:
        return None
    for provider in PROVIDERS.values():
        scheme = provider.scheme
        if scheme is None or scheme == trial.scheme or scheme.document is not None or scheme.claims is not None:
            continue
        if any(name in trial.head.values for name in scheme.headers):
            name = trial.fits(scheme=scheme)
            if name is not None:
                return {"secret": name, "other": provider.title, "slug": provider.slug}
    return None


@cause(
    "signed_text",
    "The signature was made with {secret} over {text}, and the scheme signs {signed}.",
    "Sign what the scheme says; for a sender of your own, set `signed` in [scheme.NAME].",
)
def _other_text(trial: Trial) -> Facts | None:
    scheme = trial.scheme
    if scheme is None or not trial.keyed or scheme.document is not None or scheme.claims is not None:
        return None
    for text in _OTHER_TEXTS:
        if text == scheme.signed or not _can_make(text, scheme, trial):
            continue
        name = trial.fits(scheme=replace(scheme, signed=text, method=Method.HMAC))
        if name is not None:
            return {"secret": name, "text": text, "signed": scheme.signed.encode("unicode_escape").decode("ascii")}
    return None


def _can_make(text: str, scheme: Scheme, trial: Trial) -> bool:
    has_url = trial.check is not None and trial.check.public_url is not None
    return (
        ("{timestamp}" not in text or scheme.timestamp is not None)
        and ("{id}" not in text or scheme.identity is not None)
        and ("{url}" not in text or has_url)
    )


def _digest(name: str) -> str:
    return name.upper().replace("SHA", "SHA-")


def _shown(name: bytes) -> str:
    return name.decode("latin-1")


def headers_seen(head: RequestHead, names: frozenset[bytes]) -> int:
    """How many of ``names`` came."""
    return sum(name in head.values for name in names)
