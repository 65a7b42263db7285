"""Admission as a program for the kernel: classic BPF that passes a packet whose source an ``AddressSet`` holds.

The ranges become a decision tree over 32-bit words of the source address (one for IPv4, four for IPv6, each loaded when
it is needed), searched by bisection. Offsets are relative to the network header, so the program fits whatever the
socket's own view of the packet begins with. A list that is too long for the kernel is widened: the smallest gaps
between its ranges are closed until it fits, so that the program never drops an address that the list admits; what
passes it is judged again anyway. This module makes instructions; it never knows a socket, a packet or a log.

The machine: Linux, Documentation/networking/filter.rst; the headers: RFC 791 section 3.1, RFC 8200 section 3.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from proxy.core.addresses import AddressSet
from proxy.values import frozen

#: BPF_MAXINSNS: the kernel takes no longer program.
MAX_INSTRUCTIONS = 4096

#: One instruction: code, jump if true, jump if false (both counted from the next instruction), operand.
Instruction: TypeAlias = tuple[int, int, int, int]

LOAD_WORD = 0x20  # BPF_LD | BPF_W | BPF_ABS
LOAD_BYTE = 0x30  # BPF_LD | BPF_B | BPF_ABS
AND = 0x54  # BPF_ALU | BPF_AND | BPF_K
JUMP = 0x05  # BPF_JMP | BPF_JA, the only jump of more than 255
JUMP_EQUAL = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
JUMP_GREATER_EQUAL = 0x35  # BPF_JMP | BPF_JGE | BPF_K
RETURN = 0x06  # BPF_RET | BPF_K

DROP = 0
PASS = 0xFFFFFFFF  # as many bytes of the packet as there are

#: SKF_NET_OFF, -0x100000 as the kernel reads it: an offset from here on counts from the network header.
NETWORK_HEADER = 0xFFF00000
_SOURCE4 = NETWORK_HEADER + 12
_SOURCE6 = NETWORK_HEADER + 8

_FARTHEST = 255
_WORD = 32
_WORD_END = 1 << _WORD

#: So many single values in a row are compared one by one: shorter than bisecting between their bounds, hardly slower.
_CHAIN = 3


@frozen
class Program:
    """Instructions, and how many of the list's ranges were joined with a neighbour to make them fit (0: exact)."""

    instructions: tuple[Instruction, ...]
    joined: int


@dataclass(frozen=True, slots=True, eq=False)
class _Word:
    """A word of the address and what each of its values means: segments of (first value, target), in rising order."""

    offset: int
    segments: list[tuple[int, _Target]]


_Target: TypeAlias = "bool | _Word"


def fit(addresses: AddressSet, most: int = MAX_INSTRUCTIONS) -> Program:
    """The program for these addresses in at most ``most`` instructions (64 or more): exact where it fits."""
    ranges = len(addresses)
    keep = min(ranges, most)  # in the shortest form, every other address, each takes one instruction
    while True:
        judged = addresses if keep == ranges else _widened(addresses, ranges - keep)
        instructions = compile_filter(judged)
        if len(instructions) <= most:
            return Program(tuple(instructions), ranges - len(judged))
        keep = keep * most // len(instructions)


def compile_filter(addresses: AddressSet) -> list[Instruction]:
    """The exact program, however long. What is neither IPv4 nor IPv6 is dropped; ``unix:`` means nothing here."""
    emitter = _Emitter()
    drop = emitter.place(False)
    six = emitter.place(_word(addresses.bounds6, 128, _SOURCE6, inside=False))
    four = emitter.place(_word(addresses.bounds4, 32, _SOURCE4, inside=False))
    six = emitter.branch(JUMP_EQUAL, 0x60, six, drop)
    emitter.branch(JUMP_EQUAL, 0x40, four, six)
    emitter.append(AND, 0xF0)
    emitter.append(LOAD_BYTE, NETWORK_HEADER)
    return emitter.code[::-1]


def _word(bounds: Sequence[int], bits: int, offset: int, *, inside: bool) -> _Target:
    """What an address of ``bits`` bits from ``offset`` on means: ``inside``, turned round at each bound."""
    shift = bits - _WORD
    segments: list[tuple[int, _Target]] = [(0, inside)]
    for value, rest in _by_word(bounds, shift):
        turned = inside ^ (len(rest) & 1 == 1)
        begins: _Target = turned if rest == [0] else _word(rest, shift, offset + 4, inside=inside)
        if segments[-1][0] == value:
            segments.pop()
        segments.append((value, begins))
        if rest != [0] and value + 1 < _WORD_END:
            segments.append((value + 1, turned))
        inside = turned
    return _Word(offset, segments) if len(segments) > 1 else segments[0][1]


def _by_word(bounds: Sequence[int], shift: int) -> Iterator[tuple[int, list[int]]]:
    """The bounds by the value of their first word, with what is left of each."""
    i = 0
    while i < len(bounds):
        value = bounds[i] >> shift
        if value >= _WORD_END:
            return  # the end of all addresses turns nothing round
        base, first = value << shift, i
        while i < len(bounds) and bounds[i] >> shift == value:
            i += 1
        yield value, [bound - base for bound in bounds[first:i]]


class _Emitter:
    """Writes a program from its end to its start: jumps go forward only, so every target is there before its jump.

    Places are indices into ``code``, which is in reversed order.
    """

    def __init__(self) -> None:
        self.code: list[Instruction] = []
        self._returns: dict[bool, int] = {}  # the nearest of each

    def append(self, code: int, k: int, jt: int = 0, jf: int = 0) -> int:
        """Put an instruction before all that are there; its place."""
        self.code.append((code, jt, jf, k))
        return len(self.code) - 1

    def place(self, target: _Target) -> int:
        """The place where what ``target`` says is done."""
        if isinstance(target, _Word):
            self._search(target.segments)
            return self.append(LOAD_WORD, target.offset)
        if target not in self._returns:
            self._return(verdict=target)
        return self._returns[target]

    def branch(self, code: int, k: int, yes: int, no: int) -> int:
        """Compare, and go on at ``yes`` or ``no``; its place."""
        yes = self._near(yes, spare=1)
        no = self._near(no, spare=0)
        here = len(self.code)
        return self.append(code, k, here - 1 - yes, here - 1 - no)

    def _return(self, *, verdict: bool) -> int:
        self._returns[verdict] = place = self.append(RETURN, PASS if verdict else DROP)
        return place

    def _near(self, place: int, spare: int) -> int:
        """``place``, or what does the same and can be jumped to when ``spare`` more instructions are there."""
        distance = len(self.code) - 1 - place
        if distance + spare <= _FARTHEST:
            return place
        code, _, _, k = self.code[place]
        if code != RETURN:
            return self.append(JUMP, distance)
        nearest = self._returns[k == PASS]
        return nearest if len(self.code) - 1 - nearest + spare <= _FARTHEST else self._return(verdict=k == PASS)

    def _search(self, segments: Sequence[tuple[int, _Target]], end: int = _WORD_END) -> int:
        """Find the segment of the word that was loaded; all that is known of it is that it is in one of these."""
        if len(segments) == 1:
            return self.place(segments[0][1])
        chain = _as_chain(segments, end)
        if chain is not None:
            singles, others = chain
            place = self.place(others)
            for value, target in singles:
                place = self.branch(JUMP_EQUAL, value, self.place(target), place)
            return place
        middle = len(segments) // 2
        start = segments[middle][0]
        above = self._search(segments[middle:], end)
        below = self._search(segments[:middle], start)
        return self.branch(JUMP_GREATER_EQUAL, start, above, below)


def _as_chain(segments: Sequence[tuple[int, _Target]], end: int) -> tuple[list[tuple[int, _Target]], _Target] | None:
    """A few single values, and what all others mean, where there is one such meaning."""
    if len(segments) > 2 * _CHAIN + 1:
        return None
    ends = [start for start, _ in segments[1:]] + [end]
    wide = [target for (start, target), stop in zip(segments, ends, strict=True) if stop - start > 1]
    others = wide[0] if wide else segments[0][1]
    singles = [segment for segment in segments if segment[1] is not others]
    if len(singles) > _CHAIN or any(target is not others for target in wide):
        return None
    return singles, others


def _widened(addresses: AddressSet, count: int) -> AddressSet:
    """The same without its ``count`` smallest gaps. Gaps are compared in IPv4 addresses and in IPv6 networks of /64."""
    gaps = sorted(
        [(after - before, 0, i) for i, before, after in _gaps(addresses.bounds4)]
        + [((after - before) >> 64, 1, i) for i, before, after in _gaps(addresses.bounds6)]
    )
    closed = {(family, i) for _, family, i in gaps[:count]}
    four, six = (
        tuple(bound for i, bound in enumerate(bounds) if (family, (i - 1) // 2) not in closed)
        for family, bounds in ((0, addresses.bounds4), (1, addresses.bounds6))
    )
    return AddressSet(four, six, has_unix=addresses.has_unix)


def _gaps(bounds: Sequence[int]) -> Iterator[tuple[int, int, int]]:
    """Number of the gap, end of the range before it and start of the range after it."""
    return ((i, bounds[2 * i + 1], bounds[2 * i + 2]) for i in range(len(bounds) // 2 - 1))
