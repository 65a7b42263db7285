"""Search words: one grammar for the page, the API, ``hookward tail`` and the queue.

    query   = *( term )                        terms stand between blanks, and all of them must hold
    term    = [ "-" ] ( field / bound / text )   "-": must not hold
    field   = key ":" value *( "," value )     one of the values; "*" stands for any characters
    bound   = ( ">" / "<" ) [ "=" ] time       how long it took
            / "size" ( ">" / "<" ) [ "=" ] size
            / ( "before" / "after" ) ":" ( age / instant )
    text    = word / quoted                    anywhere in what is kept, whatever its case

A query is read once and asked of many records, each a mapping of the keys below to what is known; a key that is missing
matches nothing. Reading and asking are linear in the length of what they are given. This module knows no record's
class, and no clock: ``now`` is given.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import TypeAlias

from proxy.core.addresses import AddressSet, Peer
from proxy.core.payload import Glob
from proxy.errors import HookwardError, Mistake
from proxy.values import frozen

#: What of a record is compared as text, by the word that names it in a query.
TEXT_KEYS = ("route", "provider", "event", "reason", "verdict", "id", "method", "path", "host", "secret", "agent")
#: ``id:`` is any id of a record: what keeps it gave one, the exchange has one, and the sender wrote one.
ID_KEYS = ("id", "request_id", "delivery_id")
#: The other keys of a record: a number, an address, seconds, bytes, seconds since the epoch, and all other text.
STATUS, IP, DURATION, SIZE, TIME, TEXT = "status", "ip", "duration_s", "size", "time", "text"
KEYS = (*TEXT_KEYS, STATUS, IP, "before", "after")

MAX_QUERY = 2000
MAX_TERMS = 50
FORMS = (
    'words such as route:github status:5xx ip:192.0.2.0/24 >2s size>1m before:10m -reason:"rate_limited" "some text"'
)

Record: TypeAlias = Mapping[str, object]
Test: TypeAlias = Callable[[Record], bool]

_AGES = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_SIZES = {"": 1, "b": 1, "k": 1 << 10, "kib": 1 << 10, "kb": 10**3, "m": 1 << 20, "mib": 1 << 20, "mb": 10**6,
          "g": 1 << 30, "gib": 1 << 30, "gb": 10**9}  # fmt: skip
_AMOUNT = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,6})?)([a-z]{0,3})", re.IGNORECASE)
_BOUND = re.compile(r"(size)?([<>]=?)(.*)", re.IGNORECASE | re.DOTALL)
_KEY = re.compile(r"([A-Za-z_]{1,20}):")
_STATUS = re.compile(r"[1-5](?:[0-9]{2}|xx)", re.IGNORECASE)
_OPERATORS: Mapping[str, Callable[[float, float], bool]] = {
    ">": lambda value, bound: value > bound,
    ">=": lambda value, bound: value >= bound,
    "<": lambda value, bound: value < bound,
    "<=": lambda value, bound: value <= bound,
}


class SearchError(HookwardError):
    """A query cannot be read: what is wrong at which column (from 1), and how to mend it."""

    def __init__(self, column: int, what: str, mend: str) -> None:
        super().__init__(f"column {column}: {what}\n    {mend}")
        self.column = column
        self.what = what
        self.mend = mend


@frozen
class Query:
    """What was read of a query. An empty one matches everything."""

    text: str
    tests: tuple[Test, ...] = ()
    texts: tuple[tuple[str, bool], ...] = ()  # what is looked for anywhere, folded, and whether it must not be there

    @property
    def is_empty(self) -> bool:
        """Whether it asks for nothing."""
        return not self.tests and not self.texts

    def fits(self, record: Record) -> bool:
        """Whether every term holds of a record, but for those that ask for text anywhere."""
        return all(test(record) for test in self.tests)

    def matches(self, record: Record) -> bool:
        """Whether every term holds of a record."""
        if not self.fits(record):
            return False
        if not self.texts:
            return True
        # Once for all words: a body is long.
        values = [value.casefold() for value in record.values() if isinstance(value, str)]
        return all(any(wanted in value for value in values) is not unwanted for wanted, unwanted in self.texts)


def parse_query(text: str, now: float) -> Query:
    """Read a query; ages are counted from ``now``, in seconds since the epoch. SearchError where it is none."""
    if len(text) > MAX_QUERY:
        raise SearchError(MAX_QUERY + 1, f"a query has at most {MAX_QUERY} characters", "search for less")
    tests: list[Test] = []
    texts: list[tuple[str, bool]] = []
    for term in _terms(text):
        if len(tests) + len(texts) == MAX_TERMS:
            raise SearchError(term.column, f"a query has at most {MAX_TERMS} words", "search for less")
        test = _test(term, now)
        if test is None:
            texts.append((term.values[0][0].casefold(), term.negated))
        else:
            tests.append(_not(test) if term.negated else test)
    return Query(text, tuple(tests), tuple(texts))


# -- from text to terms


@frozen
class _Term:
    """One term: its values are (text, whether it was in quotes)."""

    column: int
    negated: bool
    word: str  # what stands before the values: "route:", or ""
    values: tuple[tuple[str, bool], ...]

    def mistake(self, what: str, mend: str) -> SearchError:
        return SearchError(self.column, what, mend)


def _terms(text: str) -> Iterator[_Term]:
    at = 0
    while at < len(text):
        if text[at].isspace():
            at += 1
            continue
        column = at + 1
        negated = text[at] == "-"
        at += negated
        key = _KEY.match(text, at)
        word = "" if key is None else key[1].lower()
        at = at if key is None else key.end()
        values, at = _values(text, at, word)
        yield _Term(column, negated, word, tuple(values))


def _values(text: str, at: int, word: str) -> tuple[list[tuple[str, bool]], int]:
    """The values of one term from a place on, and the place after them."""
    values = []
    while True:
        value, quoted, at = _value(text, at, alone=not word)
        if not value and not quoted:
            what = f'"{word}:" without a value' if word else '"-" without a word'
            raise SearchError(at + 1, what, f"write {FORMS}")
        values.append((value, quoted))
        if not word or text[at : at + 1] != ",":
            return values, at
        at += 1


def _value(text: str, at: int, *, alone: bool) -> tuple[str, bool, int]:
    """One value from a place on, whether it was in quotes, and the place after it."""
    if text[at : at + 1] == '"':
        return _quoted(text, at)
    end = at
    while end < len(text) and not text[end].isspace() and (alone or text[end] != ","):
        end += 1
    return text[at:end], False, end


def _quoted(text: str, start: int) -> tuple[str, bool, int]:
    pieces, at = [], start + 1
    while at < len(text) and text[at] != '"':
        at += text[at] == "\\" and at + 1 < len(text)
        pieces.append(text[at])
        at += 1
    if at >= len(text):
        raise SearchError(start + 1, "a quotation mark is not closed", 'end the text with "')
    return "".join(pieces), True, at + 1


# -- from terms to tests


def _test(term: _Term, now: float) -> Test | None:
    """What asks for the term; None of text that may be anywhere."""
    if not term.word:
        [(value, quoted)] = term.values
        bound = None if quoted else _BOUND.fullmatch(value)
        return None if bound is None else _bounded(term, bound)
    if term.word in TEXT_KEYS:
        return _any([_fits(term.word, value, quoted=quoted) for value, quoted in term.values])
    reader = _READERS.get(term.word)
    if reader is None:
        close = difflib.get_close_matches(term.word, KEYS, 1)
        mend = f'did you mean "{close[0]}:"?' if close else f"there are {', '.join(KEYS)}; text stands in quotes"
        raise term.mistake(f'"{term.word}:" is no search word', mend)
    return _any([reader(term, value, now) for value, _ in term.values])


def _not(test: Test) -> Test:
    return lambda record: not test(record)


def _any(tests: list[Test]) -> Test:
    return tests[0] if len(tests) == 1 else lambda record: any(test(record) for test in tests)


def _fits(key: str, wanted: str, *, quoted: bool) -> Test:
    wanted = wanted.casefold()
    glob = Glob((wanted,) if quoted else tuple(wanted.split("*")))
    keys = ID_KEYS if key == "id" else (key,)

    def test(record: Record) -> bool:
        values = map(record.get, keys)
        return any(isinstance(value, str) and glob.fits(value.casefold()) for value in values)

    return test


def _number(key: str, holds: Callable[[float], bool]) -> Test:
    def test(record: Record) -> bool:
        value = record.get(key)
        return isinstance(value, int | float) and holds(value)

    return test


def _bounded(term: _Term, bound: re.Match[str]) -> Test:
    size, operator, value = bound.groups()
    compare = _OPERATORS[operator]
    amount = _AMOUNT.fullmatch(value)
    units: Mapping[str, float] = _SIZES if size else _AGES
    if amount is None or amount[2].lower() not in units:
        form = "a size such as size>1m or size<512" if size else "a time such as >2s or <5ms"
        raise term.mistake(f"{value[:40]!r} is no {'size' if size else 'time'}", f"write {form}; text stands in quotes")
    most = float(amount[1]) * units[amount[2].lower()]
    return _number(SIZE if size else DURATION, lambda value: compare(value, most))


def _status(term: _Term, value: str, _now: float) -> Test:
    if _STATUS.fullmatch(value) is None:
        raise term.mistake(f"{value[:40]!r} is no status", "write status:403 or status:5xx")
    if value[1:].lower() == "xx":
        hundred = int(value[0])
        return _number(STATUS, lambda status: status // 100 == hundred)
    return _number(STATUS, lambda status: status == int(value))


def _ip(term: _Term, value: str, _now: float) -> Test:
    try:
        wanted = AddressSet.parse([value])
    except Mistake as mistake:
        raise term.mistake(mistake.what, mistake.mend) from None

    def test(record: Record) -> bool:
        peer = _peer(record.get(IP))
        return peer is not None and peer in wanted

    return test


def _peer(address: object) -> Peer | None:
    if not isinstance(address, str) or not address:
        return None
    try:
        return Peer.unix() if address.startswith("unix:") else Peer.of(address)
    except ValueError:
        return None


def _before(term: _Term, value: str, now: float) -> Test:
    instant = _instant(term, value, now)
    return _number(TIME, lambda time: time < instant)


def _after(term: _Term, value: str, now: float) -> Test:
    instant = _instant(term, value, now)
    return _number(TIME, lambda time: time >= instant)


def _instant(term: _Term, value: str, now: float) -> float:
    """Seconds since the epoch of an age (``10m``), of a time (``2026-11-29T12:00:00Z``) or of a day, in UTC."""
    age = _AMOUNT.fullmatch(value)
    if age is not None and age[2].lower() in _AGES:
        return now - float(age[1]) * _AGES[age[2].lower()]
    try:
        parsed = datetime.fromisoformat(value)
        return (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        today = datetime.fromtimestamp(now, UTC).date().isoformat()
        mend = f"write an age such as {term.word}:10m, or {term.word}:{today}T12:00"
        raise term.mistake(f"{value[:40]!r} is no age and no time", mend) from None


_READERS: Mapping[str, Callable[[_Term, str, float], Test]] = {
    STATUS: _status,
    IP: _ip,
    "before": _before,
    "after": _after,
}
