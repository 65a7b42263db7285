"""Messages of a control connection: a table of what each side may say."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.agent.talk import SAYS, Message, Side, TalkError, Word, read_message

HASH = "ab" * 32
MESSAGES = [
    Message(Word.PING, 7),
    Message(Word.PONG, 999_999_999),
    Message(Word.PROBE, 1, ("/healthz?deep=1",)),
    Message(Word.PROBE, 2, ("-",)),
    Message(Word.PROBED, 2, ("status_503",)),
    Message(Word.WANT, 12),
    Message(Word.DRAIN),
    Message(Word.CERTIFICATES, 0, (HASH, "cd" * 32)),
]


def test_every_word_has_a_row() -> None:
    assert SAYS.keys() == set(Word) == {message.word for message in MESSAGES}


@pytest.mark.parametrize("message", MESSAGES, ids=lambda one: one.word.value)
@pytest.mark.parametrize("side", Side)
def test_only_the_side_that_may_is_heard(message: Message, side: Side) -> None:
    words = message.write().decode().split()
    if side in SAYS[message.word]:
        assert read_message(words, side) == message
    else:
        with pytest.raises(TalkError, match="message_unknown"):
            read_message(words, side)


@pytest.mark.parametrize(
    "text",
    ["PING", "PING x", "PING 1 2", "PING 1000000000", "PING -1", "PONG 1.5", "PROBE 1", "PROBE 1 healthz", "PROBE x /",
     "PROBE 1 /" + "a" * 256, "WANT 1025", "DRAIN 1", "CERTIFICATES", "CERTIFICATES xyz",
     f"CERTIFICATES {HASH.upper()}",     "CERTIFICATES" + f" {HASH}" * 8, "ping 1", "QUIT", "PING ٣"],
)  # fmt: skip
def test_what_is_no_message(text: str) -> None:
    with pytest.raises(TalkError):
        read_message(text.split(), Side.RELAY)


@given(st.sampled_from([word.value for word in Word] + ["X"]), st.lists(st.text(min_size=1, max_size=40), max_size=4))
def test_nothing_but_its_own_error(word: str, rest: list[str]) -> None:
    for side in Side:
        with suppress(TalkError):
            assert read_message([word, *rest], side).word.value == word
