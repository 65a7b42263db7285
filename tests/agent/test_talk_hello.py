"""The hello: who can make a proof, and who cannot, whatever was heard before."""

from __future__ import annotations

import secrets
from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.agent.talk import (
    Challenge,
    Hello,
    LineBuffer,
    Purpose,
    Refused,
    TalkError,
    Welcome,
    from_text,
    read_agent,
    read_hello,
    read_relay,
    read_welcome,
    to_text,
    write_agent,
    write_relay,
)

BYTES = st.binary(min_size=32, max_size=32)
NAMES = st.text("abcXYZ019._-", min_size=1, max_size=64)
HELLOS = st.builds(Hello, st.sampled_from(Purpose), NAMES, NAMES, BYTES)
HANDSHAKES = st.builds(Challenge, HELLOS, BYTES, BYTES, BYTES)


def words_of(data: bytes) -> list[str]:
    buffer = LineBuffer()
    buffer.feed(data)
    words = buffer.take()
    assert words is not None
    assert buffer.rest == b""
    return words


@given(HELLOS)
def test_a_hello_is_read_as_it_was_written(hello: Hello) -> None:
    assert read_hello(words_of(hello.write())) == hello


@given(BYTES, BYTES)
def test_proofs_are_read_as_they_were_written(nonce: bytes, proof: bytes) -> None:
    assert read_relay(words_of(write_relay(nonce, proof))) == (nonce, proof)
    assert read_agent(words_of(write_agent(proof))) == proof


@given(st.integers(0, 7), st.integers(8, 100), st.integers(0, 64))
def test_a_welcome_is_read_as_it_was_written(worker: int, workers: int, idle: int) -> None:
    welcome = Welcome(worker, workers, "00c0ffee", idle)
    assert read_welcome(words_of(welcome.write())) == welcome
    assert read_welcome(words_of(Refused("key_refused").write())) == Refused("key_refused")


@given(HANDSHAKES)
def test_both_ends_make_the_same_proofs_and_each_its_own(handshake: Challenge) -> None:
    other = replace(handshake)
    assert handshake.relay_proof() == other.relay_proof()
    assert handshake.agent_proof() == other.agent_proof()
    assert len({handshake.relay_proof(), handshake.agent_proof(), handshake.agent_key()}) == 3


@given(HANDSHAKES, st.data())
def test_a_proof_is_of_one_handshake_only(handshake: Challenge, data: st.DataObject) -> None:
    """Whichever part is another one (key, either nonce, certificate, name, instance, purpose), so is every proof."""
    hello = handshake.hello
    part = data.draw(
        st.sampled_from(["key", "relay_nonce", "certificate", "nonce", "name", "instance", "kind"]), label="part"
    )
    if part in {"key", "relay_nonce", "certificate"}:
        value: object = data.draw(BYTES.filter(lambda one: one != getattr(handshake, part)))
        other = replace(handshake, **{part: value})
    elif part == "kind":
        other = replace(handshake, hello=replace(hello, kind=next(one for one in Purpose if one is not hello.kind)))
    else:
        drawn: st.SearchStrategy[object] = BYTES if part == "nonce" else NAMES
        changed: dict[str, object] = {part: data.draw(drawn.filter(lambda one: one != getattr(hello, part)))}
        other = replace(handshake, hello=replace(hello, **changed))
    assert handshake.relay_proof() != other.relay_proof()
    assert handshake.agent_proof() != other.agent_proof()
    assert handshake.agent_key() != other.agent_key()


@given(NAMES, NAMES)
def test_what_stands_side_by_side_cannot_be_moved(one: str, other: str) -> None:
    """``ab`` and ``c`` are not ``a`` and ``bc``."""
    base = Challenge(Hello(Purpose.SERVE, one + other, "x", bytes(32)), bytes(32), bytes(32), bytes(32))
    moved = replace(base, hello=replace(base.hello, name=one, instance=other + "x"))
    if (one, other + "x") != (one + other, "x"):
        assert base.agent_proof() != moved.agent_proof()


@given(st.lists(st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1), min_size=1, max_size=7))
def test_readers_raise_nothing_but_their_own(words: list[str]) -> None:
    for first in (words[0], "HELLO", "RELAY", "AGENT", "WELCOME", "REFUSED"):
        for read in (read_hello, read_relay, read_agent, read_welcome):
            with suppress(TalkError):
                assert read([first, *words[1:]])


GOOD = Hello(Purpose.SERVE, "ci", "host-1", bytes(32)).write().decode().split()


@pytest.mark.parametrize(
    ("at", "value", "word"),
    [
        (0, "GET", "hello_expected"),
        (1, "2", "version_unknown"),
        (1, "01", "version_unknown"),
        (2, "admin", "kind_unknown"),
        (3, "x" * 65, "name_malformed"),
        (3, "../ci", "name_malformed"),
        (4, "a b", "name_malformed"),
        (5, to_text(bytes(31)), "value_malformed"),
        (5, to_text(bytes(33)), "value_malformed"),
        (5, to_text(bytes(32))[:-1] + "B", "value_malformed"),
        (5, to_text(bytes(32)) + "=", "value_malformed"),
    ],
)
def test_what_is_no_hello(at: int, value: str, word: str) -> None:
    words = [*GOOD]
    words[at] = value
    with pytest.raises(TalkError, match=word):
        read_hello(words)


@pytest.mark.parametrize(
    "text", ["WELCOME 1 1 00c0ffee 4", "WELCOME 0 1 00C0FFEE 4", "WELCOME 0 1 00c0ffee 9999", "WELCOME -1 1 00c0ffee 4",
             "WELCOME 0 99999999999 00c0ffee 4", "REFUSED Key", "REFUSED", "WELCOME ² 3 00c0ffee 4"]
)  # fmt: skip
def test_what_is_no_welcome(text: str) -> None:
    with pytest.raises(TalkError):
        read_welcome(text.split())


def test_a_value_has_one_form() -> None:
    value = secrets.token_bytes(32)
    assert from_text(to_text(value), 32) == value
    assert "key=" not in repr(Challenge(Hello(Purpose.SERVE, "a", "b", value), value, value, b"sesame"))
    assert "sesame" not in repr(Challenge(Hello(Purpose.SERVE, "a", "b", value), value, value, b"sesame"))
