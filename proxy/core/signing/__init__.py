"""How a signature is read and judged: the check of one, which is a provider's ``Scheme`` with the secrets of a route.
Each part has a module: the scheme language, strict decoding, templates, and one per method.

``begin`` reads the head and refuses what is missing, malformed or stale; the ``Verification`` it gives takes the body
chunk by chunk and says at the end which secret matched. Raw bytes only: nothing is parsed, decompressed or decoded
before it is hashed. ``begin``, ``update`` and ``finish`` never raise, whatever a client writes. ``load_pubkey`` is the
one way to what judges and makes signatures of key pairs, with a package that not every installation has.
"""

from __future__ import annotations

from dataclasses import field
from types import ModuleType
from typing import Protocol

from proxy.core.signing.evidence import EvidenceReader
from proxy.core.signing.mac import Judge, MacJudge, MacPlan, PlainPlan, Verification, WholeVerification, WordJudge
from proxy.core.signing.parsed import HMAC_DIGESTS, DocumentPlan, JwtPlan
from proxy.core.signing.scheme import PUBLIC_KEY_METHODS, WHOLE_BODY_BYTES, Method, Scheme, SecretForm
from proxy.core.tokens import Secret
from proxy.errors import Mistake
from proxy.http1 import RequestHead
from proxy.reasons import Reason
from proxy.values import frozen

__all__ = ["PUBLIC_KEY_METHODS", "Scheme", "SignatureCheck", "Verification", "WholeVerification"]

_PUBLIC_KEY_FORMS = frozenset({SecretForm.PUBLIC_KEY, SecretForm.ED25519_HEX, SecretForm.ED25519_BASE64})


class NeedsPackageError(Mistake):
    """A package that not every installation has is needed, and is not there. ``package`` is its name."""

    def __init__(self, package: str) -> None:
        super().__init__("this provider signs with a public key", f"install the Python package {package}")
        self.package = package


def needs_public_keys(scheme: Scheme) -> bool:
    """Whether ``scheme`` cannot be checked with the standard library."""
    return scheme.method in PUBLIC_KEY_METHODS or scheme.secret in _PUBLIC_KEY_FORMS


def load_pubkey() -> ModuleType:
    """``proxy.core.pubkey``. Mistake where its package is not installed."""
    try:
        from proxy.core import pubkey
    except ImportError:
        raise NeedsPackageError("cryptography") from None
    return pubkey


#: By the kind of document: the body in one piece, what is made of it, and what that is signed as. JSON text with one
#: emoji in it takes four bytes for each of its characters, twice.
WORK_FACTORS = {"": 3, "jwt": 3, "form": 5, "json": 10}


class Plan(Protocol):
    """A scheme with its keys, compiled for one method."""

    @property
    def whole_body(self) -> bool:
        """Whether a verdict needs the body in one piece."""

    def begin(self, head: RequestHead, now: float) -> Verification | Reason:
        """The check of the body that follows ``head``, or why there is nothing to check."""


@frozen
class SignatureCheck:
    """One route's signature guard. ``secrets`` are decoded keys (``core.schemes.decode_secret``), newest first.

    ``tolerance_s`` overrides the scheme's window, both ways. ``public_url`` is scheme and authority, or the whole URL,
    as configured at the provider; needed where the URL is signed. ``topics`` are those whose messages are ours, needed
    where one key signs for all customers of the provider. Raises ValueError, with the mend, where the scheme cannot be
    checked so.
    """

    scheme: Scheme
    secrets: tuple[Secret, ...]
    tolerance_s: float | None = None
    public_url: str | None = None
    topics: tuple[str, ...] = ()
    _plan: Plan = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not self.secrets:
            raise ValueError("a signature cannot be checked without a secret: give at least one")
        if self.scheme.signs_url and not self.public_url:
            raise ValueError('this provider signs the URL: set public_url = "https://..." as it is configured there')
        object.__setattr__(self, "_plan", _compile(self))
        if self.scheme.signs_for_all and not self.topics:
            raise ValueError("this provider signs for all its customers: set topics = [...] to those that are yours")

    @property
    def freshness_s(self) -> float | None:
        """How old or new a signature may be, in seconds; None where its time is not judged, or it has none."""
        scheme = self.scheme
        if scheme.claims is not None:
            own = scheme.claims.max_age_s
        elif scheme.timestamp is not None:
            own = scheme.timestamp.tolerance_s
        else:
            return None
        return own if self.tolerance_s is None else self.tolerance_s

    @property
    def whole_body(self) -> bool:
        """Whether a verdict needs the body in one piece: such a route holds it."""
        return self._plan.whole_body

    @property
    def max_body(self) -> int | None:
        """The largest body, in bytes, where the route states none of its own; None where the limits alone decide."""
        if not self.whole_body:
            return None
        return WHOLE_BODY_BYTES if self.scheme.document is None else self.scheme.document.max_body

    @property
    def work_factor(self) -> int:
        """How many times its own size a body takes in memory at most while its verdict is made; 0 where it streams."""
        if not self.whole_body:
            return 0
        document = self.scheme.document
        return WORK_FACTORS["" if document is None else document.kind]

    def begin(self, head: RequestHead, now: float) -> Verification | Reason:
        """Judge ``head`` at ``now`` (seconds since the epoch): the check of its body, or why it is refused."""
        return self._plan.begin(head, now)


def _compile(check: SignatureCheck) -> Plan:
    scheme, secrets = check.scheme, check.secrets
    reader = EvidenceReader(scheme, check.tolerance_s, check.public_url)
    if scheme.claims is not None:
        return JwtPlan(scheme, scheme.claims, reader, _make_judge(check), check.tolerance_s)
    if scheme.document is not None:
        return DocumentPlan(scheme, scheme.document, reader, _make_judge(check), check.topics)
    if scheme.method is Method.ED25519:
        return PlainPlan(scheme, reader, _make_judge(check))
    if needs_public_keys(scheme):
        plan: Plan = load_pubkey().DigestPlan(scheme, secrets, reader)
        return plan
    return MacPlan(scheme, secrets, reader)


def _make_judge(check: SignatureCheck) -> Judge:
    scheme = check.scheme
    if scheme.method is Method.EQUAL:
        return WordJudge(check.secrets)
    if needs_public_keys(scheme):
        judge: Judge = load_pubkey().PublicKeyJudge(scheme, check.secrets)
        return judge
    claims = scheme.claims
    algorithms = [scheme.algorithm] if claims is None else [HMAC_DIGESTS[name] for name in claims.algorithms]
    return MacJudge(scheme, check.secrets, algorithms)
