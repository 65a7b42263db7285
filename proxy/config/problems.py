"""Collects every mistake of a configuration, so that all of them are told at once, and what should be said besides:
warnings, which know the rule they come from, so that they can be silenced by its id.

Readers raise :exc:`Mistake` for one value; what knows the place of the value adds it here. Nothing in this module ever
sees a secret.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Self

from proxy.errors import ConfigError, Mistake, Path, Place, Problem
from proxy.values import frozen


class Note(str):  # noqa: SLOT000 - a text subclass with one attribute; few are made
    """A warning: a sentence like any other text, and the id of its rule in ``rules``."""

    rule: str

    def __new__(cls, rule: str, text: str) -> Self:
        """A note of the rule called ``rule``."""
        made = super().__new__(cls, text)
        made.rule = rule
        return made

    def at(self, where: str) -> Note:
        """The same with the place it speaks of before it."""
        return Note(self.rule, f"{where}: {self}")


def rule_of(warning: str) -> str:
    """The id of a warning's rule; "" for one that has none and so cannot be silenced."""
    return warning.rule if isinstance(warning, Note) else ""


def audible(warnings: Iterable[str], silenced: Collection[str]) -> tuple[str, ...]:
    """The warnings that are not silenced, each once."""
    return tuple(one for one in dict.fromkeys(warnings) if rule_of(one) not in silenced)


class Problems:
    """The mistakes and warnings of one load, in the order they were found, each once."""

    def __init__(self) -> None:
        self._found: dict[Problem, None] = {}
        self.warnings: list[str] = []
        #: Whether a whole source could not be read: then nothing is said to be missing.
        self.unreadable = False
        self._doubtful: set[Path] = set()

    @property
    def found(self) -> list[Problem]:
        """The mistakes so far."""
        return list(self._found)

    def add(self, place: Place, what: str, mend: str) -> None:
        """Note one mistake."""
        self._found[Problem(place, what, mend)] = None

    def add_mistake(self, place: Place, mistake: Mistake) -> None:
        """Note the mistake that a reader raised."""
        self.add(place, mistake.what, mistake.mend)

    def warn(self, rule: str, place: Place | str, text: str) -> None:
        """Note something that works and should not be left so. ``rule`` "" cannot be silenced."""
        told = f"{place}: {text}" if str(place) else text
        self.warnings.append(Note(rule, told) if rule else told)

    def forget(self, is_other: Callable[[Path], bool]) -> None:
        """Drop the mistakes at keys that are not asked for."""
        self._found = {one: None for one in self._found if isinstance(one.place, str) or not is_other(one.place.key)}

    def doubt(self, path: Path) -> None:
        """What is at ``path`` was written and not understood, a misspelt key under its right name."""
        self._doubtful.update(path[:end] for end in range(1, len(path) + 1))

    def doubts(self, path: Path) -> bool:
        """Whether something at ``path`` or below it was not understood, so that it is not said to be missing."""
        return self.unreadable or path in self._doubtful

    def raise_if_any(self) -> None:
        """ConfigError with everything found, if anything was."""
        if self._found:
            raise ConfigError(sorted(self._found, key=_order))


def _order(problem: Problem) -> tuple[str, int]:
    """Sorts by file and line; what has no line comes first, in the order it was found."""
    place = problem.place
    return ("", 0) if isinstance(place, str) or place.line is None else (place.file, place.line)


def nearest(word: str, known: Sequence[str], cutoff: float = 0.6) -> str | None:
    """The known word that was probably meant, or None. ``cutoff``: how alike they must be, 0 to 1 for equal words."""
    for one in (word, word.lower()):
        likeness, near = max(((_likeness(one, other), other) for other in known), default=(0.0, None))
        if likeness >= cutoff:
            return near
    return None


def _likeness(one: str, other: str) -> float:
    """The share of the letters of both that come in both, in the same order. (``difflib`` has a measure like it, and
    would be imported at every start for a mistake that few configurations have.)
    """
    row = [0] * (len(other) + 1)  # how many are in common with the beginnings of ``other``
    for letter in one:
        diagonal = 0
        for at, same in enumerate(other, 1):
            above = row[at]
            row[at] = diagonal + 1 if letter == same else max(above, row[at - 1])
            diagonal = above
    return 2 * row[-1] / max(len(one) + len(other), 1)


def suggestion(word: str, known: Iterable[str], *, what: str = "known are", otherwise: str = "") -> str:
    """``did you mean 'x'?``; where nothing is near, ``otherwise``, or the list of all that is known."""
    known = list(known)
    if (near := nearest(word, known)) is not None:
        return f"did you mean {near!r}?"
    return otherwise or (f"{what}: {', '.join(known)}" if known else "remove it")


# -- The rules of ``check``: each has an id to silence it by, what is odd, and how to mend it.
#
# Data. H1… are about secrets, H2… about guards, H3… about routes, H4… about what stands around, H5… about
# certificates. None of them keeps hookward from starting: what must not start is a problem, and has no id.


@frozen
class Rule:
    """One rule."""

    id: str
    what: str
    mend: str


_RULES = (
    Rule("H101", "Other users may read the file of a secret or of a private key.",
         "Run that chmod. Where root owns the file, the group of the service may read it (640)."),
    Rule("H102", "A secret is shorter than 16 bytes, so it may be guessed.",
         "Make a new one with `hookward gen-secret` and set it at both sides."),
    Rule("H103", "A secret looks like an API key, a certificate or a URL, which signs nothing.",
         "Copy the signing secret from the provider's page of the webhook."),
    Rule("H104", "A secret has expired.", "Remove it."),
    Rule("H105", "A secret expires within 14 days.", "Set a new one at the provider and add it beside the old one."),
    Rule("H106", "A secret is not valid yet.", "Nothing, if its date is right."),
    Rule("H107", "A secret begins or ends with a blank or newline, which is taken as part of it.",
         "Write the file again without it: printf %s instead of echo."),
    Rule("H108", "A newline at the end of a secret's file was removed.",
         "Nothing, if it is not part of the secret; printf %s writes none."),
    Rule("H109", "Two routes of different providers have the same secret.",
         "Give each its own: with one, the other's deliveries can be forged."),
    Rule("H110", "The provider has a better scheme than this one.", "Set it at the provider, and name it here."),
    Rule("H111",
         "The secret that signs an endpoint check's challenges, for anybody, also signs another route's deliveries.",
         'Give each route a secret of its own, or set handshake = "refuse" where the challenges come.'),
    Rule("H201", "A token crosses the network without TLS, where it can be read on the way.",
         "Add [tls], or listen on loopback behind a proxy that has TLS."),
    Rule("H202", "The address is all that is checked: nothing proves where a request comes from, or what it says.",
         "Add `provider` with `secrets`, or `token`."),
    Rule("H203", "A list of addresses admits every address.",
         'Name the provider\'s addresses, such as "set:github", or leave `allow` out.'),
    Rule("H204", "A published address list has not been confirmed for a month.", "`hookward ip-sets refresh`."),
    Rule("H205", "There is no copy of a published address list yet.", "`hookward ip-sets refresh`."),
    Rule("H206", "A signature may be older than an hour, and can be replayed for as long.",
         "Lower `tolerance`; most providers allow five minutes."),
    Rule("H301", "A route never gets a request: an earlier one takes all.", "Remove it, or tighten the other one."),
    Rule("H302", "A route only observes: a delivery whose proof fails is passed on.",
         'Write mode = "enforce" when you have seen enough; `allow` holds until then.'),
    Rule("H303", "A route forwards without any check.", "Add `allow`, `provider` or `token`."),
    Rule("H304", "Every address may connect to a plain TCP forward.", "Add `allow` to it."),
    Rule("H305",
         "A route never admits a delivery: an earlier one on its path takes them all and compares another secret.",
         "Write the secrets of both into one route, or give each a path of its own."),
    Rule("H306", "A slash more or less leads past a route, to one that asks for less and has the same application.",
         "Leave `exact` or the slash of `path` out, or ask no less there: many applications take both paths for one."),
    Rule("H307",
         "What a route reaches by `rewrite`, a base path or a token in its path, another reaches too, asking for less.",
         "Choose another place for one of them, or ask no less there."),
    Rule("H310", "No address that can connect is in a route's `allow`, so nothing can call it.",
         'Listen on "0.0.0.0:443"; or, behind a proxy or tunnel on this host, trusted_proxies = ["127.0.0.1"].'),
    Rule("H311", "A route's token and signature are read from one header, and no value is both.",
         "Leave `token` out, or name another header or a query parameter for it."),
    Rule("H320", "A route names an event type that its provider does not publish: such a delivery never comes.",
         "Write it as the provider does, in its own letters. If it is newer than this version, silence this."),
    Rule("H321", "A route names a method that its provider does not send with, or not the one that it does.",
         'Leave `methods` out, or write methods = ["POST"].'),
    Rule("H322", "A key has no effect beside what else is written.",
         "Remove it, or write what it belongs to: `deliver`, `store` or a provider that has it."),
    Rule("H323", "A body is held whole before it is passed on, though the route says otherwise.",
         'Write body = "hold", or leave `body` out.'),
    Rule("H401", "Other hosts can reach the admin listener.", "Listen on 127.0.0.1 or a unix socket."),
    Rule("H402", "Every peer is trusted to name the client.", "Name only your own proxies in `trusted_proxies`."),
    Rule("H403", "Deliveries cross the network to the upstream in clear.",
         'Write "https://" for it, or keep it on this host; inside a network of your own, silence this.'),
    Rule("H404", "A unix socket is listened on, and no `allow` admits its peers.", 'Add "unix:" to `allow`.'),
    Rule("H405", "`hold` is longer than the provider waits, so it is cut to a second less than that.",
         "Lower it to that; a provider that gives up sends again."),
    Rule("H406", "An idle connection to the upstream is used as long as most applications keep theirs, or longer.",
         "Lower `upstream_idle_timeout` below the application's own (Node and uvicorn: 5 s), or silence this."),
    Rule("H501", "A certificate has expired.",
         "Renew it: hookward reads it again when its file changes. Until then no provider delivers."),
    Rule("H502", "A certificate is not valid yet.", "Mend this host's clock, or serve the one before for a while."),
    Rule("H503", "A certificate expires within 14 days.",
         "Renew it, and see why that was not done by itself: most are renewed a month before."),
    Rule("H504", "A certificate has no names.", "Have it issued with subjectAltName: clients look at nothing else."),
    Rule("H505", "No certificate has the name that a route's `public_url` has.",
         "Have a certificate issued for it, or mend `public_url`: providers connect to that name."),
    Rule("H506", "A certificate has no name that a route's `public_url` has.",
         "Serve the one that providers ask for, or mend `public_url`."),
    Rule("H601", "Deliveries are kept for a route, or a copy, that is no longer configured.",
         "Name a route so again and they are delivered, or `hookward queue drop --search 'route:NAME' --yes`."),
    Rule("H602", "A route keeps no more, and deliveries of it are here still.",
         "Those that wait are delivered; `hookward queue list route:NAME` shows them, `replay` tries dead ones again."),
)  # fmt: skip

RULES: Mapping[str, Rule] = MappingProxyType({rule.id: rule for rule in _RULES})


def unknown_rules(ids: Iterable[str]) -> list[tuple[str, str]]:
    """What is wrong with each id that no rule has, and how to mend it."""
    return [(f"there is no rule {one[:40]!r}", suggestion(one, RULES)) for one in ids if one not in RULES]
