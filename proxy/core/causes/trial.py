"""One refused delivery on trial: would it have been admitted if this or that were different?

A supposition is tried with the very code that verifies (``SignatureCheck``), over changed parts: another key, body,
scheme or URL, and with time left out. What comes of it is a name or nothing. No MAC is made here that is not compared
at once, and none is kept, returned or shown. The work of one trial is bounded by ``BUDGET_BYTES``.

Where time is at fault nothing has to be tried: it is read when the delivery says that it was signed (``said_at``).
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Iterable
from dataclasses import field, replace

from proxy.core.policy import Route
from proxy.core.schemes import Provider, find
from proxy.core.signing.documents import JsonPart, list_items, read_json
from proxy.core.signing.evidence import EvidenceReader, target_of
from proxy.core.signing.parsed import open_token
from proxy.core.signing.proof import Scheme, SignatureCheck, needs_public_keys
from proxy.core.signing.scheme import Document, Method, Secret, TimeFormat, parse_time
from proxy.http1 import RequestHead, utc_text
from proxy.reasons import Reason
from proxy.values import frozen

#: The body that is looked at; a longer one is hardly ever a webhook, and would keep a processor busy.
MAX_BODY_BYTES = 256 * 1024
#: What may be hashed for one delivery: about 40 ms of work at the worst.
BUDGET_BYTES = 48 * 1024 * 1024
#: What trying costs besides hashing, in bytes that could be hashed meanwhile.
_OVERHEAD_BYTES = 16 * 1024

#: Names of ours that a sentence may hold: of secrets, routes, providers and headers; times and numbers.
Facts = dict[str, str]


@frozen
class Case:
    """A delivery that was refused for ``reason`` at ``now`` (seconds since the epoch) by ``route``.

    ``body`` None: it is not here as a whole. ``routes`` are all that are configured, for secrets that were mixed up.
    """

    reason: Reason
    head: RequestHead = field(repr=False)  # tokens and signatures are in it, and debuggers print what waits
    body: bytes | None = field(repr=False)
    route: Route
    routes: tuple[Route, ...]
    now: float


@frozen
class Hypothesis:
    """One usual cause. ``said`` and ``mend`` are sentences with places for facts; asked, it gives these, or None."""

    word: str
    said: str
    mend: str
    reasons: frozenset[Reason]
    guess: bool  # nothing proves it
    find: Callable[[Trial], Facts | None]

    def __call__(self, trial: Trial) -> Facts | None:
        """The facts, where this is the cause."""
        return self.find(trial)


def cause(
    word: str, said: str, mend: str, *reasons: Reason, guess: bool = False
) -> Callable[[Callable[[Trial], Facts | None]], Hypothesis]:
    """Makes the function below it the cause called ``word``, of refusals for one of ``reasons``: a mismatch, where none
    is given.
    """
    return lambda find: Hypothesis(word, said, mend, frozenset(reasons or {Reason.SIGNATURE_MISMATCH}), guess, find)


def fitting(names: Iterable[str | None]) -> Facts | None:
    """The first secret that fits, where one of these suppositions names one."""
    return next(({"secret": name} for name in names if name is not None), None)


def out_of_dates(secrets: Iterable[Secret], now: float, fits: Callable[[Secret], bool]) -> Facts | None:
    """The first secret that fits and is not live, and why it is not."""
    for secret in secrets:
        if not secret.live(now) and fits(secret):
            over = secret.not_after is not None and secret.not_after <= now
            return {"secret": secret.name, "when": "not_after has passed" if over else "not_before is still to come"}
    return None


class Trial:
    """The suppositions about one case."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.head = case.head
        self.body = case.body if case.body is None or len(case.body) <= MAX_BODY_BYTES else None
        self.route = case.route
        self.check = case.route.signature
        self.left = BUDGET_BYTES

    @property
    def scheme(self) -> Scheme | None:
        """How the route's provider signs."""
        return None if self.check is None else self.check.scheme

    @property
    def provider(self) -> Provider | None:
        """The route's provider, where it is one of the catalogue."""
        return find(self.route.provider) if self.route.provider else None

    @property
    def title(self) -> str:
        """What the provider is called."""
        provider = self.provider
        return self.route.provider if provider is None else provider.title

    @property
    def secrets(self) -> tuple[Secret, ...]:
        """The live secrets of the signature."""
        if self.check is None:
            return ()
        return tuple(undated(secret) for secret in self.check.secrets if secret.live(self.case.now))

    @property
    def keyed(self) -> bool:
        """Whether the signature is made with a key that both sides have: only then another key can be tried."""
        scheme = self.scheme
        return scheme is not None and scheme.method is not Method.EQUAL and not needs_public_keys(scheme)

    def _may_try(self, chosen: tuple[Secret, ...], content: bytes | None) -> bool:
        """Whether there is what to try, and so much may still be hashed; it counts as hashed then."""
        self.left -= len(chosen) * (len(content or b"") + _OVERHEAD_BYTES)
        return bool(chosen) and self.left >= 0

    def _sent_to(self, public_url: str | None, changed: RequestHead | None) -> RequestHead:
        head = changed or self.head
        return head if public_url is None else with_target(head, target_of(public_url) or head.target)

    def fits(
        self,
        secrets: Iterable[Secret] | None = None,
        *,
        body: bytes | None = None,
        head: RequestHead | None = None,
        scheme: Scheme | None = None,
        public_url: str | None = None,
        topics: tuple[str, ...] = (),
    ) -> str | None:
        """The name of the secret with which the delivery, so changed, is right; None where it is wrong all the same.

        What is not given is as it came. Times are left out.
        """
        chosen = self.secrets if secrets is None else tuple(secrets)
        scheme = scheme or self.scheme
        content = self.body if body is None else body
        if scheme is None or not self._may_try(chosen, content):
            return None
        head = self._sent_to(public_url, head)
        if self.check is not None:
            public_url, topics = public_url or self.check.public_url, topics or self.check.topics
        try:
            return self._verify(SignatureCheck(scheme, chosen, float("inf"), public_url, topics), head, content)
        except ValueError:  # what was supposed makes no check, or no URL
            return None

    def _verify(self, check: SignatureCheck, head: RequestHead, content: bytes | None) -> str | None:
        begun = check.begin(head, self.case.now)
        if isinstance(begun, Reason):
            return None
        if content is None:
            # A token in the head is judged before the body; nothing else can be judged without it.
            return check.secrets[0].name if check.scheme.claims is not None and len(check.secrets) == 1 else None
        verdict = begun.verify(content)
        return None if isinstance(verdict, Reason) else verdict


def with_target(head: RequestHead, target: bytes) -> RequestHead:
    """``head`` with another target."""
    path, mark, text = target.partition(b"?")
    return replace(head, target=target, path=path, query=text if mark else None)


def undated(secret: Secret) -> Secret:
    """``secret`` without its dates."""
    return replace(secret, not_before=None, not_after=None)


def equal(first: bytes, second: bytes) -> bool:
    """Whether a sender's text is one of ours, in constant time."""
    return hmac.compare_digest(first, second)


_UNITS = frozenset({TimeFormat.SECONDS, TimeFormat.MILLISECONDS})
_WORDS = {TimeFormat.SECONDS: "seconds", TimeFormat.MILLISECONDS: "milliseconds", TimeFormat.ANY: "a date"}
_YEAR_S = 366 * 86400.0


def said_at(head: RequestHead, body: bytes | None, trial: Trial) -> float | None:
    """When the delivery says it was signed, in seconds since the epoch; None where that cannot be read."""
    scheme = trial.scheme
    if scheme is None:
        return None
    if scheme.claims is not None:
        return _of_token((head.get(scheme.headers[0]) if scheme.headers else body) or b"", scheme.prefix)
    if scheme.timestamp is None:
        return None
    document = scheme.document
    text = b""
    if document is not None and document.timestamp is not None:
        text = _of_document(document, body)
    else:
        text = _of_head(head, trial)
    return parse_time(scheme.timestamp.format, text)


def _of_head(head: RequestHead, trial: Trial) -> bytes:
    assert trial.check is not None
    evidence = EvidenceReader(trial.check.scheme, float("inf"), trial.check.public_url).read(head, trial.case.now)
    return b"" if isinstance(evidence, Reason) else evidence.context.timestamp


def _of_document(document: Document, body: bytes | None) -> bytes:
    tree = read_json(body) if body is not None and document.kind == "json" else None
    if tree is None:
        return b""
    elements = [tree] if document.items is None else list_items(tree, document.items)
    return (JsonPart(elements[0], document).text(document.timestamp or "") or b"") if elements else b""


def _of_token(text: bytes, prefix: bytes) -> float | None:
    token = open_token(text.removeprefix(prefix))
    if token is None:
        return None
    times = [token.claims.get(name) for name in ("exp", "iat", "nbf")]
    return next((float(one) for one in times if isinstance(one, int | float) and abs(one) < 1e12), None)


def _times(trial: Trial) -> Facts | None:
    """When it was signed, if it says so, and when it came."""
    now, scheme, said = trial.case.now, trial.scheme, said_at(trial.head, trial.body, trial)
    if said is None:
        return None
    window = trial.check.tolerance_s if trial.check is not None else None
    if window is None and scheme is not None and scheme.timestamp is not None:
        window = scheme.timestamp.tolerance_s
    return {
        "seconds": f"{abs(now - said):.0f}",
        "theirs": _instant(said),
        "ours": _instant(now),
        "window": "its own limit" if window is None else f"{window:g} s",
    }


@cause(
    "timestamp_unit",
    "The header {header} holds {came}, and {wanted} are signed.",
    "Write the time in the unit of the scheme, both in the header and in the signed text.",
    Reason.SIGNATURE_MALFORMED,
    Reason.TIMESTAMP_TOO_OLD,
    Reason.TIMESTAMP_IN_FUTURE,
)
def _unit(trial: Trial) -> Facts | None:
    stamp = None if trial.scheme is None else trial.scheme.timestamp
    if stamp is None or stamp.format not in _UNITS or stamp.header is None:
        return None
    text, now = trial.head.get(stamp.header) or b"", trial.case.now
    if _says_about_now(stamp.format, text, now):
        return None
    wanted = _WORDS[stamp.format]
    for form, word in _WORDS.items():
        if word != wanted and _says_about_now(form, text, now):
            return {"header": stamp.header.decode("latin-1"), "came": word, "wanted": wanted}
    return None


def _says_about_now(form: TimeFormat, text: bytes, now: float) -> bool:
    said = parse_time(form, text)
    return said is not None and abs(said - now) < _YEAR_S


_too_old = cause(
    "timestamp_old",
    "It was signed {seconds} s ago: at {theirs} by the sender's clock, and it is {ours} here; the window is {window}.",
    "If every delivery is late, set this host's clock (NTP), then the sender's; a single one is a retry or a "
    "replay, and `tolerance` widens the window.",
    Reason.TIMESTAMP_TOO_OLD,
)(_times)
_ahead = cause(
    "timestamp_ahead",
    "It was signed {seconds} s from now: at {theirs} by the sender's clock, and it is {ours} here; the window is "
    "{window}.",
    "One of the two clocks is wrong: set this host's first (NTP).",
    Reason.TIMESTAMP_IN_FUTURE,
)(_times)


def _instant(seconds: float) -> str:
    try:
        return utc_text(seconds)
    except (ValueError, OverflowError, OSError):
        return "no time at all"
