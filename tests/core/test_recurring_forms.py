"""Heads that come again: what is read by a form is what is read without one, and nothing is kept that can grow."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core import recurring as module
from proxy.core.recurring import MAX_FORM_BYTES, MAX_FORMS, PATIENCE, HeadForms
from proxy.core.request_head import HeadLimits, read_request_head
from proxy.errors import ProtocolError
from proxy.http1 import RequestHead
from tests.examples import examples

LIMITS = HeadLimits(max_head=16384, max_target=8192, max_fields=100)
LINE = b"POST /hook HTTP/1.1"
PUSH = [
    LINE,
    b"Host: hooks.example.com",
    b"User-Agent: GitHub-Hookshot/044aadd",
    b"Accept: */*",
    b"Content-Type: application/json",
    b"X-GitHub-Delivery: 72d3162e-cc78-11e3-81ab-4c9367dc0958",
    b"X-Hub-Signature-256: sha256=ab",
    b"Connection: keep-alive",
    b"Content-Length: 2",
]
SECRET = [b"x-hub-signature-256"]


def wire(lines: list[bytes]) -> bytes:
    return b"\r\n".join([*lines, b"\r\n"])


def read(lines: list[bytes]) -> RequestHead:
    found = read_request_head(wire(lines), LIMITS)
    assert found is not None
    return found[0]


def knowing(*heads: list[bytes], limits: HeadLimits = LIMITS) -> HeadForms:
    forms = HeadForms(limits, SECRET)
    for lines in heads:
        forms.learn(read(lines), b"/hook")
    return forms


def is_known(forms: HeadForms, lines: list[bytes]) -> bool:
    found = forms.read(wire(lines))
    assert found is not None
    assert found == read_request_head(wire(lines), LIMITS)
    return found[0].again


def outcome(read, buffer: bytes):
    """What it gives, or (reason, detail) of what it raises."""
    try:
        return read(buffer)
    except ProtocolError as error:
        return error.reason, error.detail


def changed(place: int, line: bytes, lines: list[bytes] = PUSH) -> list[bytes]:
    return [*lines[:place], line, *lines[place + 1 :]]


def test_a_delivery_is_known_again_by_all_but_what_differs() -> None:
    forms = knowing(PUSH)
    lines = changed(
        5, b"X-GitHub-Delivery: 1", changed(6, b"X-Hub-Signature-256: sha256=cd", changed(8, b"Content-Length: 77"))
    )
    found = forms.read(wire(lines) + b"{}")
    assert found is not None
    head, size = found
    assert head.again
    assert size == len(wire(lines))
    assert head == read(lines)
    assert (head.values[b"x-github-delivery"], head.content_length) == (b"1", 77)
    assert is_known(forms, PUSH)


LINES = st.one_of(
    st.sampled_from(
        [b"Expect: 100-continue", b"Transfer-Encoding: chunked", b"Host: b", b"Content-Length: 9, 9", b"X:1"]
    ),
    st.binary(max_size=40),
    st.text(" \t:-XYxy09\r\n\x00\x7f", max_size=12).map(lambda text: text.encode("latin-1")),
)
VALUES = st.one_of(
    st.binary(max_size=30), st.text(" \t,019ab\r\n\x7f\xff", max_size=8).map(lambda text: text.encode("latin-1"))
)


@st.composite
def variations(draw: st.DrawFn) -> list[bytes]:
    """The push, with lines or values that differ, are missing, come twice or trade places."""
    lines = list(PUSH)
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.integers(0, len(lines) - 1))
        match draw(st.sampled_from(["value", "value", "line", "name", "swap", "drop", "add"])):
            case "value":
                lines[place] = (
                    lines[place].partition(b":")[0] + draw(st.sampled_from([b": ", b":", b":\t"])) + draw(VALUES)
                )
            case "line":
                lines[place] = draw(LINES)
            case "name":
                lines[place] = lines[place].swapcase()
            case "swap":
                other = draw(st.integers(0, len(lines) - 1))
                lines[place], lines[other] = lines[other], lines[place]
            case "drop" if len(lines) > 1:
                del lines[place]
            case _:
                lines.insert(place, draw(LINES))
    return lines


KNOWING = knowing(PUSH, PUSH[:-1])


@examples(200)
@given(variations(), st.binary(max_size=6), st.integers(0, 400))
def test_a_form_gives_what_the_reader_gives(lines: list[bytes], rest: bytes, cut: int) -> None:
    for buffer in (wire(lines) + rest, (wire(lines) + rest)[:cut]):
        assert outcome(KNOWING.read, buffer) == outcome(lambda data: read_request_head(data, LIMITS), buffer)


@pytest.mark.parametrize("place", range(len(PUSH)))
@pytest.mark.parametrize(
    "value", [b"", b" ", b" a", b"a ", b"a\tb", b"\x7f", b"\xff", b"a\rb", b"a\nb", b"a\x00", b"+1", b"0" * 20]
)
def test_a_value_out_of_the_ordinary(place: int, value: bytes) -> None:
    lines = changed(place, PUSH[place].partition(b": ")[0] + b": " + value)
    assert outcome(knowing(PUSH).read, wire(lines)) == outcome(
        lambda data: read_request_head(data, LIMITS), wire(lines)
    )


@pytest.mark.parametrize(
    "line",
    [b"Host: other.example.com", b"Connection: close", b"connection: keep-alive", b"Accept:\t*/*", b"Accept: */* "],
)
def test_what_frames_and_addresses_may_not_differ(line: bytes) -> None:
    name = line.partition(b":")[0].lower()
    place = next(place for place, known in enumerate(PUSH) if known.lower().startswith(name + b":"))
    assert not is_known(knowing(PUSH), changed(place, line))


@pytest.mark.parametrize(
    "lines",
    [
        changed(0, b"POST /hook/ HTTP/1.1"),
        changed(0, b"POST /hook?token=sesame HTTP/1.1"),
        changed(0, b"POST /hook HTTP/1.0"),
        changed(0, b"POST http://hooks.example.com/hook HTTP/1.0"),
        [*PUSH, b"Expect: 100-continue"],
        [*PUSH, b"Accept: text/html"],
        [*PUSH, b"X_Odd: 1"],
        [*PUSH, b"X-Empty:"],
        [*PUSH, b"X-Umlaut: \xfc"],
        [*PUSH, b"X-Tab: a\tb"],
        [*PUSH, b"X-Long: " + b"x" * MAX_FORM_BYTES],
    ],
)
def test_what_is_not_remembered(lines: list[bytes]) -> None:
    assert not is_known(knowing(lines), lines)


def test_no_line_that_may_hold_a_secret_is_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    secrets = [
        b"Authorization: Bearer sesame",
        b"Cookie: sesame",
        b"Proxy-Authorization: sesame",
        b"X-Api-Key: sesame",
        b"X-Hub-Signature-256: s",
    ]
    lines = [*PUSH[:6], *secrets, *PUSH[7:]]
    forms, compared = knowing(lines), []

    def spy(one: bytes, other: bytes) -> bool:
        compared.append((one, other))
        return one != other

    monkeypatch.setattr(module, "ne", spy)
    assert is_known(forms, lines)
    assert len(compared) == len(lines) - 1  # what was asked for is looked up
    assert {other for one, other in compared if one in secrets} == {b""}


def test_a_line_without_an_end_is_not_looked_up() -> None:
    asked = []

    class Recording(dict[bytes, object]):
        def get(self, key: bytes, default: object = None) -> object:
            asked.append(key)
            return super().get(key, default)

    forms = knowing(PUSH)
    forms._forms = Recording(forms._forms)  # type: ignore[assignment]
    for size in (1, MAX_FORM_BYTES, 8000):
        outcome(forms.read, b"POST /" + b"a" * size)
        outcome(forms.read, b"POST /" + b"a" * size + b" HTTP/1.1\r\n")
    assert max(map(len, asked)) < MAX_FORM_BYTES
    assert is_known(forms, PUSH)


def test_forms_are_few() -> None:
    forms, kept = HeadForms(LIMITS, SECRET), []
    for number in range(2 * MAX_FORMS):
        lines = [*PUSH[:2], *(b"X-%d: 1" % each for each in range(number % 90)), b"X-Y: 1"]
        lines[0] = b"M%d /hook HTTP/1.1" % (number // 90)
        forms.learn(read(lines), b"/hook")
        kept.append(lines)
    assert sum(is_known(forms, lines) for lines in kept) <= MAX_FORMS


def test_of_two_kinds_that_take_turns_one_stays_known() -> None:
    other = changed(3, b"X-Accept: */*")
    forms = knowing(PUSH, *[other] * (PATIENCE - 1))
    assert is_known(forms, PUSH)
    assert not is_known(forms, other)
    forms.learn(read(other), b"/hook")
    assert is_known(forms, other)
    assert not is_known(forms, PUSH)


def test_a_reader_of_smaller_heads_knows_no_larger_ones() -> None:
    small = HeadLimits(len(wire(PUSH)), 8192, 100)
    forms = knowing(PUSH, limits=small)
    longer = wire(changed(5, b"X-GitHub-Delivery: " + b"1" * 60))
    assert outcome(forms.read, longer) == outcome(lambda data: read_request_head(data, small), longer)
    assert isinstance(forms.read(wire(PUSH)), tuple)
