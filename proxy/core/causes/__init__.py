"""Why a delivery was refused: the usual causes, tried in order, and the first that fits.

Theory. A refusal says which check failed; to mend it one needs to know why. Each cause is one that people meet when
they set up a webhook: a word to script against, a sentence that says what is the case and one that says the mend, above
the function that looks for it in one case. Sure causes, which a matching signature proves, come before guesses. For the
operator alone: nothing of this ever reaches a sender, which could try keys with it.

Bounded: the body that is looked at, what it may become when it is decompressed, and what is hashed in all. Nothing that
comes out holds a secret, a MAC or a text of the client. Pure: no clock, no log; the shell decides when to ask.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from proxy.core.causes import of_body, of_secret, of_sender, of_signature, trial
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
    said: str
    mend: str

    @property
    def sentence(self) -> str:
        """Both sentences."""
        return f"{self.said} {self.mend}"


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
HYPOTHESES: tuple[Hypothesis, ...] = (
    *sorted(
        (
            one
            for part in (of_secret, of_body, of_signature, trial, of_sender)
            for one in vars(part).values()
            if isinstance(one, Hypothesis)
        ),
        key=lambda one: one.guess,
    ),
    GARBLED,
    UNKNOWN,
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
