"""The sender is another one than the route expects: another provider, one without a secret, or a request by hand."""

from __future__ import annotations

from proxy.core.causes.of_signature import headers_seen
from proxy.core.causes.trial import Facts, Trial, cause
from proxy.core.schemes import PROVIDERS, Provider
from proxy.core.tokens import TokenKind
from proxy.http1 import RequestHead
from proxy.reasons import Reason

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
def other_provider(trial: Trial) -> Facts | None:
    """The headers of another provider came."""
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
def unsigned(trial: Trial) -> Facts | None:
    """It is this provider's delivery, and has no proof: no secret is set there."""
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
def by_hand(trial: Trial) -> Facts | None:
    """Nothing of the provider is in the request."""
    proof = trial.scheme.headers if trial.scheme is not None else ()
    return None if any(name in trial.head.values for name in proof) else {"title": trial.title}


def _or(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"
