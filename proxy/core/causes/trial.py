"""One refused delivery on trial: would it have been admitted if this or that were different?

A supposition is tried with the very code that verifies (``SignatureCheck``), over changed parts: another key, body,
scheme or URL, and with time left out. What comes of it is a name or nothing. No MAC is made here that is not compared
at once, and none is kept, returned or shown. The work of one trial is bounded by ``BUDGET_BYTES``.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Iterable
from dataclasses import field, replace

from proxy.core.policy import Route
from proxy.core.schemes import Provider, find
from proxy.core.signatures import Scheme, SignatureCheck, needs_public_keys
from proxy.core.signing.evidence import target_of
from proxy.core.signing.scheme import Method
from proxy.core.tokens import Secret
from proxy.http1 import RequestHead
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
    """Makes the function below it the cause called ``word``, of refusals for one of ``reasons``."""
    return lambda find: Hypothesis(word, said, mend, frozenset(reasons), guess, find)


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

    def fits_any(self, bodies: Iterable[bytes]) -> str | None:
        """The name of the secret that is right for one of ``bodies``."""
        for body in bodies:
            name = self.fits(body=body)
            if name is not None:
                return name
        return None


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
