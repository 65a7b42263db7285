"""What runs along with an exchange: the same decisions, within bounds."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from proxy.core.tape import ANSWER_BYTES, PIECE_BYTES, Ledger, Tape


def test_what_fits_is_taken_and_given_back() -> None:
    ledger = Ledger(1000, 150)
    tape = Tape(ledger)
    tape.take(b"a" * 30)
    tape.take(b"b" * 30)
    tape.take(b"c")
    assert (tape.body, tape.cut, ledger.free) == ([b"a" * 30], True, 1000 - 30 - PIECE_BYTES)
    tape.wind_up()
    assert ledger.free == 1000


def test_crumbs_are_counted_with_what_they_take() -> None:
    tape = Tape(Ledger(1 << 20, 100_000))
    for _ in range(10_000):
        tape.take(b"x")
    assert tape.cut
    assert len(tape.body) == 100_000 // (1 + PIECE_BYTES)


def test_the_beginning_of_an_answer_is_kept() -> None:
    tape = Tape(Ledger(1 << 20, 1 << 20))
    tape.take_answer([b"x" * (ANSWER_BYTES - 1), b"yz", b"more"])
    assert b"".join(tape.answer) == b"x" * (ANSWER_BYTES - 1) + b"y"
    assert tape.answer_cut


def test_where_all_is_spent_nothing_is_taken() -> None:
    ledger = Ledger(10 + PIECE_BYTES, 10 + PIECE_BYTES)
    first, second = Tape(ledger), Tape(ledger)
    first.take(b"0123456789")
    second.take(b"x")
    second.take_answer([b"y"])
    assert (second.body, second.cut, b"".join(second.answer), second.answer_cut) == ([], True, b"", True)


@given(
    st.lists(st.tuples(st.booleans(), st.binary(max_size=40)), max_size=30), st.integers(0, 300), st.integers(0, 300)
)
def test_the_ledger_never_goes_below_nothing(pieces: list[tuple[bool, bytes]], free: int, most: int) -> None:
    ledger = Ledger(free, most)
    tapes = [Tape(ledger), Tape(ledger)]
    for number, (is_answer, piece) in enumerate(pieces):
        tape = tapes[number % 2]
        if is_answer:
            tape.take_answer([piece])
        else:
            tape.take(piece)
        assert ledger.free >= 0
        assert ledger.free + sum(one.taken for one in tapes) == free
    for tape in tapes:
        assert sum(map(len, tape.body + tape.answer)) <= tape.taken
        tape.wind_up()
    assert ledger.free == free
