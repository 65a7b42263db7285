"""Why a delivery was refused: the usual causes, tried in order, and the first that fits.

Theory. A refusal says which check failed; to mend it one needs to know why. Each cause is one that people meet when
they set up a webhook: a word to script against, a sentence that says what is the case and one that says the mend, above
the function that looks for it in one case. Sure causes, which a matching signature proves, come before guesses. For the
operator alone: nothing of this ever reaches a sender, which could try keys with it. What is at fault has a module of
causes each: the secret, the body, the signature, the time (``trial``); those that are tried last stand here, of
senders.

Bounded: the body that is looked at, what it may become when it is decompressed, and what is hashed in all. Nothing that
comes out holds a secret, a MAC or a text of the client. Pure: no clock, no log; the shell decides when to ask.
"""

from __future__ import annotations

from binascii import Error as Base64Error
from binascii import a2b_base64
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from urllib.parse import unquote_to_bytes

from proxy.core.causes import of_body, of_secret, of_signature, trial
from proxy.core.causes.of_signature import headers_seen
from proxy.core.causes.trial import MAX_BODY_BYTES, Case, Facts, Hypothesis, Trial, cause, equal, out_of_dates
from proxy.core.schemes import PROVIDERS, Provider
from proxy.core.signing.proof import TokenKind
from proxy.core.signing.scheme import Secret
from proxy.http1 import RequestHead, value_of
from proxy.reasons import Reason
from proxy.values import frozen

__all__ = ["DIAGNOSABLE", "HYPOTHESES", "MAX_BODY_BYTES", "Case", "Diagnosis", "Hypothesis", "diagnose"]

#: The refusals that have a cause worth looking for.
DIAGNOSABLE = frozenset(
    {
        Reason.SIGNATURE_MISSING,
        Reason.SIGNATURE_MALFORMED,
        Reason.SIGNATURE_MISMATCH,
        Reason.TIMESTAMP_MISSING,
        Reason.TIMESTAMP_TOO_OLD,
        Reason.TIMESTAMP_IN_FUTURE,
        Reason.TOKEN_MISSING,
        Reason.TOKEN_MISMATCH,
        Reason.BASIC_AUTH_FAILED,
    }
)


@frozen
class Diagnosis:
    """A cause: its word, and what is the case and how to mend it, in sentences without a line break."""

    word: str
    said: str
    mend: str

    @property
    def sentence(self) -> str:
        """Both sentences."""
        return f"{self.said} {self.mend}"


# -- What is tried last. The sender is another one than the route expects: another provider, one without a secret, or a
# request by hand. Or its token is at fault: blanks, a word too much, another route's, in another place, or not there.

_MAX_NAMED = 3
#: Headers that prove nothing about the sender: many use them, for many things.
_COMMON = frozenset({b"authorization", b"x-request-id", b"request-id", b"x-timestamp", b"x-signature"})


def _proof(provider: Provider) -> frozenset[bytes]:
    """The headers that prove a delivery of ``provider``."""
    if provider.scheme is not None:
        return frozenset(provider.scheme.headers)
    if provider.token is not None and provider.token.kind is TokenKind.HEADER:
        return frozenset({provider.token.name})
    return frozenset()


def _all_headers(provider: Provider) -> frozenset[bytes]:
    named = provider.scheme.header_names if provider.scheme is not None else _proof(provider)
    return named | {name for name in (provider.event_header, provider.delivery_header) if name is not None}


def providers_of(head: RequestHead, besides: frozenset[bytes]) -> list[Provider]:
    """The providers whose proof is in ``head``, those with most of their headers there; not by ``besides`` alone."""
    scored: list[tuple[int, Provider]] = []
    for provider in PROVIDERS.values():
        proof = _proof(provider) - _COMMON - besides
        if headers_seen(head, proof):
            scored.append((headers_seen(head, _all_headers(provider)), provider))
    best = max((score for score, _ in scored), default=0)
    return [provider for score, provider in scored if score == best]


@cause(
    "other_provider",
    "The request has the headers of {others}, and none of {title}.",
    'Write provider = "{slug}" in this route, or correct the path at the sender.',
    Reason.SIGNATURE_MISSING,
    Reason.SIGNATURE_MALFORMED,
    Reason.TIMESTAMP_MISSING,
    Reason.TOKEN_MISSING,
    Reason.BASIC_AUTH_FAILED,
)
def _other_provider(trial: Trial) -> Facts | None:
    own = frozenset(trial.scheme.headers) if trial.scheme is not None else frozenset()
    if trial.route.token is not None:
        own |= {trial.route.token.name}
    found = [provider for provider in providers_of(trial.head, own) if provider.slug != trial.route.provider]
    if not found or headers_seen(trial.head, own):
        return None
    slugs = [provider.slug for provider in found[:_MAX_NAMED]]
    return {"others": _or([provider.title for provider in found[:_MAX_NAMED]]), "slug": slugs[0], "title": trial.title}


@cause(
    "unsigned",
    "The request comes from {title} and is not signed.",
    "Set the secret at the provider: without one, it sends no proof.",
    Reason.SIGNATURE_MISSING,
    Reason.TOKEN_MISSING,
    Reason.BASIC_AUTH_FAILED,
    guess=True,
)
def _unsigned(trial: Trial) -> Facts | None:
    provider = trial.provider
    if provider is None:
        return None
    others = _all_headers(provider) - _proof(provider) - _COMMON
    agent = (trial.head.get(b"user-agent") or b"").lower()
    known = provider.title.lower().encode("utf-8") in agent
    return {"title": provider.title} if known or headers_seen(trial.head, others) else None


@cause(
    "by_hand",
    "Nothing in the request is as {title} sends it.",
    "It is a trial by hand, or a scan: `hookward send` makes a signed delivery.",
    Reason.SIGNATURE_MISSING,
    guess=True,
)
def _by_hand(trial: Trial) -> Facts | None:
    proof = trial.scheme.headers if trial.scheme is not None else ()
    return None if any(name in trial.head.values for name in proof) else {"title": trial.title}


def _or(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


_MAX_PLACES = 128
_BLANKS = b" \t\r\n"


def _given(trial: Trial) -> bytes:
    """What stands where the token should be; b"" where nothing does."""
    token = trial.route.token
    if token is None:
        return b""
    if token.kind is TokenKind.QUERY:
        pairs = (pair.partition(b"=") for pair in (trial.head.query or b"").split(b"&"))
        return next((value for key, _, value in pairs if unquote_to_bytes(key) == token.name), b"")
    if token.kind is TokenKind.PATH:
        return trial.head.path[len(token.name) :].partition(b"/")[0]
    return trial.head.get(token.name or b"authorization") or b""


def _live(trial: Trial) -> Iterator[Secret]:
    token = trial.route.token
    return (secret for secret in (token.secrets if token is not None else ()) if secret.live(trial.case.now))


@cause(
    "token_out_of_dates",
    "The token {secret} came, and its {when}.",
    "Mend its dates, or set the current token at the sender.",
    Reason.TOKEN_MISMATCH,
    Reason.BASIC_AUTH_FAILED,
)
def _out_of_dates(trial: Trial) -> Facts | None:
    token, given = trial.route.token, _bare(trial)
    secrets = token.secrets if token is not None else ()
    return out_of_dates(secrets, trial.case.now, lambda secret: equal(secret.value, given))


@cause(
    "token_badly_copied",
    "The token {secret} came with something around it: a blank, quotation marks, an escape, or a word before it.",
    "Write both from the same copy, without anything around it, and reload.",
    Reason.TOKEN_MISMATCH,
    Reason.BASIC_AUTH_FAILED,
)
def _badly_copied(trial: Trial) -> Facts | None:
    given, bare = _given(trial), _bare(trial)
    if not given:
        return None
    forms = {given.partition(b" ")[2].strip(b" "), unquote_to_bytes(given.replace(b"+", b" "))}
    for text in (given, bare):
        forms |= {text.strip(_BLANKS + b"\"'"), unquote_to_bytes(text).strip(_BLANKS)}
    for secret in _live(trial):
        ours = secret.value.strip(_BLANKS + b"\"'")
        if any(equal(secret.value, form) or equal(ours, form) for form in forms):
            return {"secret": secret.name}
    return None


@cause(
    "token_of_another_route",
    "The token {secret} of the route {other} came.",
    "Two tokens are mixed up: name the right file in each route, or correct the path at the sender.",
    Reason.TOKEN_MISMATCH,
    Reason.BASIC_AUTH_FAILED,
)
def _of_another_route(trial: Trial) -> Facts | None:
    given = _bare(trial)
    for route in trial.case.routes:
        if route is trial.route or not given:
            continue
        tokens = route.token.secrets if route.token is not None else ()
        for secret in tokens:
            if equal(secret.value, given):
                return {"secret": secret.name, "other": route.name}
    return None


@cause(
    "token_in_another_place",
    "The token {secret} came in {place}, where this route does not look.",
    "Put it where `token` says, or change `token` to where it comes.",
    Reason.TOKEN_MISSING,
    Reason.BASIC_AUTH_FAILED,
    Reason.TOKEN_MISMATCH,
)
def _in_another_place(trial: Trial) -> Facts | None:
    for place, value in _places(trial):
        for secret in _live(trial):
            if equal(secret.value, value):
                return {"secret": secret.name, "place": place}
    return None


def _places(trial: Trial) -> Iterator[tuple[str, bytes]]:
    pairs = (trial.head.query or b"").split(b"&")[:_MAX_PLACES]
    for pair in pairs:
        yield "the query", unquote_to_bytes(pair.partition(b"=")[2])
    for entry in trial.head.fields[:_MAX_PLACES]:
        place = "the header Authorization" if entry[0] == b"authorization" else "another header"
        value = value_of(entry)
        yield place, value
        yield place, value.partition(b" ")[2].strip(b" ")


def _bare(trial: Trial) -> bytes:
    """What was given, as a secret is written: without the word before it, decoded."""
    token, given = trial.route.token, _given(trial)
    if token is None or token.kind is TokenKind.HEADER:
        return given
    if token.kind in {TokenKind.QUERY, TokenKind.PATH}:
        return unquote_to_bytes(given)
    given = given.partition(b" ")[2].strip(b" ")
    return given if token.kind is TokenKind.BEARER else _credentials(given)


def _credentials(text: bytes) -> bytes:
    try:
        return a2b_base64(text)
    except Base64Error:
        return b""


@cause(
    "token_absent",
    "There is nothing in {place}.",
    "Set the token there at the sender, and let nothing in front drop it; a sender that waits for a challenge "
    "tries again by itself.",
    Reason.TOKEN_MISSING,
    Reason.BASIC_AUTH_FAILED,
    guess=True,
)
def _absent(trial: Trial) -> Facts | None:
    token = trial.route.token
    if token is None or _given(trial):
        return None
    places = {
        TokenKind.QUERY: f"the query parameter {token.name.decode('latin-1')}",
        TokenKind.HEADER: f"the header {token.name.decode('latin-1')}",
        TokenKind.BEARER: "Authorization: Bearer",
        TokenKind.BASIC: "Authorization: Basic",
        TokenKind.PATH: f"the path behind {token.name.decode('latin-1')}",
    }
    return {"place": places[token.kind]}


#: Of a proof that has no form: no secret is at fault.
GARBLED = Hypothesis(
    "proof_garbled",
    "The proof is not written as {title} writes it, and no usual cause fits.",
    "Look at its header as it arrived: it was cut or changed on the way, or written by hand. `hookward send` makes a "
    "right one.",
    frozenset({Reason.SIGNATURE_MALFORMED}),
    guess=True,
    find=lambda trial: {"title": trial.title},
)
#: What is said where no cause fits.
UNKNOWN = Hypothesis(
    "unknown",
    "None of the usual causes fits.",
    "Most likely the two sides have different secrets: set a new one at both. If that changes nothing, something in "
    "front changes what was signed: compare the body as it was sent. If others are admitted, it is a forgery.",
    DIAGNOSABLE - GARBLED.reasons,
    guess=True,
    find=lambda _trial: {},
)

#: All causes, in the order in which they are tried: part by part, each as its module has them, and guesses at the end.
HYPOTHESES: tuple[Hypothesis, ...] = tuple(
    sorted(
        (
            one
            for part in (vars(of_secret), vars(of_body), vars(of_signature), vars(trial), dict(globals()))
            for one in part.values()
            if isinstance(one, Hypothesis)
        ),
        key=lambda one: one.guess,
    )
)

_BY_REASON: Mapping[Reason, tuple[Hypothesis, ...]] = MappingProxyType(
    {reason: tuple(one for one in HYPOTHESES if reason in one.reasons) for reason in DIAGNOSABLE}
)


def diagnose(case: Case) -> Diagnosis | None:
    """The first cause that fits ``case``; None for a reason that has none to look for. Never raises on a delivery."""
    trial = Trial(case)
    for hypothesis in _BY_REASON.get(case.reason, ()):
        facts = hypothesis(trial)
        if facts is not None:
            return Diagnosis(hypothesis.word, hypothesis.said.format(**facts), hypothesis.mend.format(**facts))
    return None
