"""Why a delivery was refused: the usual causes, tried in order, and the first that fits.

Theory. A refusal says which check failed; whoever has to mend it needs to know why. Each row of the table is a cause
that people meet when they set up a webhook: a word to script against, a sentence that says what is the case and one
that says the mend, and a function over one case (``core.causes``). Sure causes, which a matching signature proves, come
before guesses. For the operator alone: nothing of this ever reaches a sender, who could try keys with it.

Bounded: the body that is looked at, what it may become when it is decompressed, and what is hashed in all. Nothing that
comes out holds a secret, a MAC or a text of the sender. Pure: no clock, no log; the shell decides when to ask.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from proxy.core.causes import mismatches, refusals
from proxy.core.causes.trial import MAX_BODY_BYTES, Case, Hypothesis, Trial
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
    sentence: str


#: What is said where no cause fits.
UNKNOWN = Hypothesis(
    "unknown",
    "None of the usual causes fits.",
    "Most likely the two sides have different secrets: set a new one at both. If others are admitted, it is a forgery.",
    DIAGNOSABLE,
    lambda _trial: {},
)

#: All causes, in the order in which they are tried.
HYPOTHESES: tuple[Hypothesis, ...] = (
    *mismatches.OF_SECRETS,
    *mismatches.OF_BODIES,
    *mismatches.OF_URLS,
    *mismatches.OF_TOPICS,
    *refusals.OF_FORMS,
    *refusals.OF_SENDERS,
    *refusals.OF_TIMES,
    *refusals.OF_TOKENS,
    *mismatches.OTHER_SCHEMES,
    *mismatches.GUESSES,
    *refusals.GUESSES,
    UNKNOWN,
)

_BY_REASON: Mapping[Reason, tuple[Hypothesis, ...]] = MappingProxyType(
    {reason: tuple(one for one in HYPOTHESES if reason in one.reasons) for reason in DIAGNOSABLE}
)


def diagnose(case: Case) -> Diagnosis | None:
    """The first cause that fits ``case``; None for a reason that has none to look for. Never raises on a delivery."""
    trial = Trial(case)
    for hypothesis in _BY_REASON.get(case.reason, ()):
        facts = hypothesis.find(trial)
        if facts is not None:
            return Diagnosis(hypothesis.word, f"{hypothesis.said} {hypothesis.mend}".format(**facts))
    return None
