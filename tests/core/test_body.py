"""The gate: in any cut, what leaves is the body, and before the verdict no more than the mode allows."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from proxy.core.body import CRUMB_BYTES, WITHHELD_BYTES, BodyGate
from proxy.core.policy import BodyMode
from proxy.core.signing.proof import Verification
from proxy.http1 import Piece
from proxy.reasons import Reason
from tests.core.handshaking import judge_whole


class FakeVerification(Verification):
    """Remembers what it was given; the verdict is set."""

    def __init__(self, verdict: str | Reason = "2026-q4") -> None:
        self.verdict = verdict
        self.seen = b""

    def update(self, chunk: Piece) -> None:
        self.seen += chunk

    def finish(self) -> str | Reason:
        return self.verdict

    def marks(self) -> list[bytes]:
        return []


class Spill:
    def __init__(self) -> None:
        self.content = b""

    def write(self, data: bytes) -> None:
        self.content += data


PIECES = st.lists(st.integers(1, 3 * WITHHELD_BYTES).map(lambda size: bytes([size % 251]) * size), max_size=12)
WINDOW = st.sampled_from([1, 1000, WITHHELD_BYTES, 2 * WITHHELD_BYTES, 1 << 20])


@given(PIECES)
def test_free_passes_everything_as_it_comes(pieces: list[bytes]) -> None:
    gate = BodyGate(BodyMode.FREE, 1000, None, None)
    assert [gate.feed(piece) for piece in pieces] == [[piece] for piece in pieces]
    assert (gate.take(), gate.finish(), gate.held_bytes) == ([], None, 0)


@given(PIECES, WINDOW)
def test_tail_withholds_the_window_and_then_the_end(pieces: list[bytes], window: int) -> None:
    verification = FakeVerification()
    gate = BodyGate(BodyMode.TAIL, window, verification, None)
    left: list[bytes] = []
    for piece in pieces:
        left += gate.feed(piece)
        passed = sum(map(len, left))
        if gate.received <= window:
            assert passed == 0
        else:
            assert passed == 0 or gate.received - passed >= WITHHELD_BYTES
        assert gate.held_bytes == gate.received - passed
    body = b"".join(pieces)
    before = b"".join(left)
    assert len(before) < len(body) or not body
    assert gate.finish() == "2026-q4"
    assert before + b"".join(gate.take()) == body == verification.seen
    assert gate.streaming == (len(body) > window)


@given(PIECES, WINDOW)
def test_tail_holds_little_once_it_streams(pieces: list[bytes], window: int) -> None:
    gate = BodyGate(BodyMode.TAIL, window, FakeVerification(), None)
    for piece in pieces:
        gate.feed(piece)
        if gate.streaming:
            assert gate.held_bytes < WITHHELD_BYTES + max(map(len, pieces)) + 1


@given(PIECES, WINDOW)
def test_hold_lets_nothing_leave(pieces: list[bytes], window: int) -> None:
    spill = Spill()
    gate = BodyGate(BodyMode.HOLD, window, FakeVerification(), spill)
    assert [gate.feed(piece) for piece in pieces] == [[]] * len(pieces)
    assert gate.held_bytes <= window
    assert b"".join(gate.take()) + spill.content == b"".join(pieces)


@given(st.binary(max_size=100), st.sampled_from(["2026-q4", Reason.SIGNATURE_MISMATCH]))
def test_a_body_in_one_piece(body: bytes, verdict: str | Reason) -> None:
    verification = FakeVerification(verdict)
    gate = BodyGate(BodyMode.TAIL, 10, verification, None)
    assert judge_whole(gate, body) is verdict
    assert verification.seen == body
    assert (gate.received, gate.streaming) == (len(body), False)
    assert b"".join(gate.take()) == body
    assert gate.held_bytes == 0


@given(st.lists(st.integers(1, CRUMB_BYTES + 10), max_size=200), st.sampled_from([BodyMode.TAIL, BodyMode.HOLD]))
def test_crumbs_are_not_held_one_by_one(sizes: list[int], mode: BodyMode) -> None:
    gate = BodyGate(mode, 1 << 20, FakeVerification(), Spill() if mode is BodyMode.HOLD else None)
    pieces = [bytes([size % 251]) * size for size in sizes]
    for piece in pieces:
        gate.feed(piece)
    held = gate.take()
    assert b"".join(held) == b"".join(pieces)
    assert len(held) <= 1 + 2 * sum(sizes) // CRUMB_BYTES


def test_the_pieces_that_were_hashed_are_the_pieces_that_leave() -> None:
    pieces = [bytes(WITHHELD_BYTES) for _ in range(4)]
    gate = BodyGate(BodyMode.TAIL, 1, FakeVerification(), None)
    left = [piece for fed in pieces for piece in gate.feed(fed)] + gate.take()
    assert all(out is fed for out, fed in zip(left, pieces, strict=True))


def test_the_body_in_one_piece_while_nothing_has_left() -> None:
    gate = BodyGate(BodyMode.TAIL, 10, None, None)
    assert gate.whole_body() == b""
    gate.feed(b"12345")
    gate.feed(b"67890")
    assert gate.whole_body() == b"1234567890"
    assert b"".join(gate.take()) == b"1234567890", "it was only looked at"
    large = BodyGate(BodyMode.TAIL, 3 * CRUMB_BYTES, None, None)
    for letter in (b"a", b"b", b"c"):
        large.feed(letter * CRUMB_BYTES)
    assert large.whole_body() == b"a" * CRUMB_BYTES + b"b" * CRUMB_BYTES + b"c" * CRUMB_BYTES
    beyond = BodyGate(BodyMode.TAIL, 10, None, None)
    beyond.feed(b"12345678901")
    assert beyond.whole_body() is None


def test_a_body_of_exactly_the_window_stays_in_memory() -> None:
    spill = Spill()
    gate = BodyGate(BodyMode.HOLD, 1000, None, spill)
    gate.feed(b"x" * 1000)
    assert (spill.content, gate.held_bytes) == (b"", 1000)
    gate.feed(b"y")
    assert (spill.content, gate.held_bytes) == (b"x" * 1000 + b"y", 0)


def test_what_may_leave_leaves_to_the_byte() -> None:
    first, end = b"a" * 2000, b"b" * WITHHELD_BYTES
    gate = BodyGate(BodyMode.TAIL, 1000, FakeVerification(), None)
    assert gate.feed(first) == []
    assert gate.feed(end[:-1]) == []
    assert gate.feed(end[-1:]) == [first]


def test_a_body_in_one_piece_without_anything_to_prove() -> None:
    gate = BodyGate(BodyMode.TAIL, 1000, None, None)
    assert judge_whole(gate, b"abc") is None
    assert gate.take() == [b"abc"]
