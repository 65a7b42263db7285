"""The kernel's program against the address set that it was made from, run by an interpreter of the machine."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core import bpf
from proxy.core.addresses import AddressSet, Peer
from tests.examples import examples

END = {4: 1 << 32, 6: 1 << 128}


def packet(version: int, number: int) -> bytes:
    """A header of IPv4 or IPv6 from that source, and nothing else of interest: all other bytes are 0xa5."""
    if version == 4:
        return b"\x45" + b"\xa5" * 11 + number.to_bytes(4, "big") + b"\xa5" * 24
    return b"\x6b" + b"\xa5" * 7 + number.to_bytes(16, "big") + b"\xa5" * 36


def run(program, data: bytes) -> tuple[int, int]:
    """What classic BPF does (Linux, Documentation/networking/filter.rst): what it returns, and after how many steps.

    An instruction that the machine does not know, a jump out of the program and a load outside of the header fail.
    """
    accumulator = counter = steps = 0
    while True:
        code, jt, jf, k = program[counter]
        assert 0 <= jt <= 255
        assert 0 <= jf <= 255
        assert 0 <= k < 1 << 32
        assert code in (0x15, 0x35) or jt == jf == 0
        counter += 1
        steps += 1
        match code:
            case 0x20:
                at = k - 0xFFF00000
                assert 0 <= at <= len(data) - 4
                accumulator = int.from_bytes(data[at : at + 4], "big")
            case 0x30:
                accumulator = data[k - 0xFFF00000]
            case 0x54:
                accumulator &= k
            case 0x05:
                counter += k
            case 0x15:
                counter += jt if accumulator == k else jf
            case 0x35:
                counter += jt if accumulator >= k else jf
            case 0x06:
                return k, steps
            case _:
                pytest.fail(f"no such instruction: {code:#x}")


def passes(program, version: int, number: int) -> bool:
    verdict, _ = run(program, packet(version, number))
    assert verdict in (0, 0xFFFFFFFF)
    return verdict == 0xFFFFFFFF


def admits(addresses: AddressSet, version: int, number: int) -> bool:
    return Peer("", 0, version, number) in addresses


def edges(addresses: AddressSet) -> list[tuple[int, int]]:
    """Every address at which the verdict could be wrong by one, in any of its words, and both ends of all addresses."""
    found = {(4, 0), (6, 0), (4, END[4] - 1), (6, END[6] - 1)}
    for version, bounds in ((4, addresses.bounds4), (6, addresses.bounds6)):
        steps = [0, *(step << 32 * i for i in range(1 if version == 4 else 4) for step in (-1, 1))]
        found |= {(version, bound + step) for bound in bounds for step in steps}
    return sorted((version, number) for version, number in found if 0 <= number < END[version])


def assert_same(addresses: AddressSet) -> None:
    program = bpf.compile_filter(addresses)
    for version, number in edges(addresses):
        assert passes(program, version, number) == admits(addresses, version, number), ip_address(number)


#: Words and halves of words that lie together, so that bounds meet, follow one another and share their beginnings.
few = st.sampled_from((0, 1, 2, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF))
number4 = st.one_of(few, st.integers(0, END[4] - 1))
number6 = st.one_of(
    st.tuples(few, few, few, few).map(lambda words: sum(word << 32 * i for i, word in enumerate(words))),
    st.integers(0, END[6] - 1),
)


@st.composite
def networks(draw: st.DrawFn) -> str:
    version, number = draw(st.one_of(st.tuples(st.just(4), number4), st.tuples(st.just(6), number6)))
    bits = 32 if version == 4 else 128
    length = draw(st.one_of(st.just(bits), st.integers(0, bits)))
    first = number >> (bits - length) << (bits - length)
    if version == 6 and first >> 32 == 0xFFFF:
        first = 1 << 127 if length else 0  # mapped IPv4, which does not come as IPv6
    return f"{ip_address(first) if version == 4 else ip_address(first.to_bytes(16, 'big'))}/{length}"


def ranges(unit: int) -> st.SearchStrategy[tuple[int, ...]]:
    """Bounds of many ranges close together."""
    numbers = st.lists(st.integers(1, 2000).map(lambda number: number * unit), min_size=40, max_size=80, unique=True)
    return numbers.map(lambda found: tuple(sorted(found[: len(found) // 2 * 2])))


sets = st.lists(networks(), max_size=24).map(AddressSet.parse)
many = st.builds(AddressSet, ranges(1), ranges(1 << 64), has_unix=st.booleans())
probes = st.lists(st.one_of(st.tuples(st.just(4), number4), st.tuples(st.just(6), number6)), max_size=8)


@examples(40)
@given(sets, probes)
def test_the_program_judges_as_the_set_does(addresses: AddressSet, others: list[tuple[int, int]]) -> None:
    assert_same(addresses)
    program = bpf.compile_filter(addresses)
    for version, number in others:
        assert passes(program, version, number) == admits(addresses, version, number)


@examples(40)
@given(sets, st.integers(64, 120))
def test_what_does_not_fit_is_widened_and_never_narrowed(addresses: AddressSet, most: int) -> None:
    program = bpf.fit(addresses, most)
    assert len(program.instructions) <= most
    assert program.joined == 0 or len(bpf.compile_filter(addresses)) > most
    for version, number in edges(addresses):
        passed = passes(program.instructions, version, number)
        assert passed or not admits(addresses, version, number)
        assert program.joined or passed == admits(addresses, version, number)


@pytest.mark.parametrize(
    "entries",
    [
        [],
        ["all"],
        ["unix:"],
        ["0.0.0.0/0"],
        ["::/0"],
        ["0.0.0.0", "255.255.255.255"],
        ["::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"],
        ["0.0.0.0/1"],
        ["8000::/1"],
        ["127.0.0.1"],
        ["2001:db8::1"],
        ["2001:db8::/32", "2001:db9::/32"],
        ["2001:db8::/64", "2001:db8:0:1::/64", "2001:db8:0:3::/64"],
        ["2001:db8:ffff:ffff::/64", "2001:db9::/64"],
        ["2001:db8::ffff:ffff:ffff:ffff/128", "2001:db8:0:1::"],
        ["2001:db8::5", "2001:db8:8000::/33"],
        ["ffff:fffe::5"],
    ],
    ids=", ".join,
)
def test_edges_of_addresses_and_of_words(entries: list[str]) -> None:
    addresses = AddressSet.parse(entries)
    assert_same(addresses)
    assert returns(bpf.compile_filter(addresses)) <= 2, "each verdict is written once"


def returns(program) -> int:
    return sum(code == 0x06 for code, _, _, _ in program)


@pytest.mark.parametrize(
    "entries",
    [
        [f"10.{i >> 8}.{i & 255}.0/25" for i in range(900)],
        [f"10.{i >> 8}.{i & 255}.7" for i in range(1200)],
        [f"2a00:{i:x}::/32" for i in range(1, 4800, 4)],
        [f"2a00:{i:x}:8000::/48" for i in range(300)],
        [f"2a00:{i:x}:1:2:3:4:5:6" for i in range(150)],
        [f"10.0.{i}.{i}" for i in range(256)] + [f"2a00::{i:x}:0/112" for i in range(2, 400, 3)],
    ],
    ids=["/25", "/32", "v6 /32", "v6 /48", "v6 /128", "both"],
)
def test_programs_whose_jumps_are_long(entries: list[str]) -> None:
    addresses = AddressSet.parse(entries)
    program = bpf.fit(addresses)
    assert program.joined == 0
    assert len(program.instructions) > 600
    assert returns(program.instructions) <= 2 + len(program.instructions) // 64, "once for all that are near"
    assert_same(addresses)
    longest = max(run(program.instructions, packet(*one))[1] for one in edges(addresses))
    assert longest < 70


@pytest.mark.parametrize(
    ("step", "count", "instructions"), [(2, 1, 8), (2, 3, 10), (2, 55, 70), (2, 79, 102), (3, 79, 117)]
)
def test_addresses_in_a_row_take_few_instructions(step: int, count: int, instructions: int) -> None:
    addresses = AddressSet.parse([f"10.0.0.{step * i}" for i in range(count)])
    assert len(bpf.compile_filter(addresses)) == instructions


@pytest.mark.parametrize("step", [2, 3])
@pytest.mark.parametrize("count", [40, 55, 79, 80])
def test_what_fits_exactly_is_not_widened(step: int, count: int) -> None:
    addresses = AddressSet.parse([f"10.0.0.{step * i}" for i in range(count)])
    exact = max(len(bpf.compile_filter(addresses)), 64)
    assert bpf.fit(addresses, exact).joined == 0
    assert exact == 64 or bpf.fit(addresses, exact - 1).joined > 0


@examples(20)
@given(many, st.integers(64, 120))
def test_no_gap_is_closed_before_a_smaller_one(addresses: AddressSet, most: int) -> None:
    program = bpf.fit(addresses, most)
    opened: list[Any] = []
    closed: list[Any] = []
    for version, bounds, unit in ((4, addresses.bounds4, 1), (6, addresses.bounds6, 1 << 64)):
        for before, after in zip(bounds[1::2], bounds[2::2], strict=False):
            (closed if passes(program.instructions, version, before) else opened).append((after - before) // unit)
    assert program.joined == len(closed)
    assert max(closed, default=0) <= min(opened, default=2000)


def test_ten_thousand_prefixes_fit_widened() -> None:
    single = [f"10.{i >> 8}.{i & 255}.{i % 128}" for i in range(9_990)]
    addresses = AddressSet.parse([*single, "192.0.2.0/24", "2a00::/32"])
    program = bpf.fit(addresses)
    assert 3000 < len(program.instructions) <= bpf.MAX_INSTRUCTIONS
    assert program.joined > 5000
    assert all(passes(program.instructions, *one) for one in edges(addresses) if admits(addresses, *one))
    assert not passes(program.instructions, 4, 9 << 24)
    assert not passes(program.instructions, 4, 0xC0000300)
    assert not passes(program.instructions, 6, 1)


def test_the_smallest_gaps_are_closed_first() -> None:
    four = [f"10.0.{i}.0/25" for i in range(60)] + ["10.1.0.0/16"]
    program = bpf.fit(AddressSet.parse([*four, "2a00::/64", "2a00:0:0:2::/64", "2a00:ffff::/64"]), 64)
    assert program.joined > 30
    assert passes(program.instructions, 6, 0x2A00 << 112 | 1 << 64), "a gap of one /64"
    assert not passes(program.instructions, 6, 0x2A00 << 112 | 1 << 96)
    assert not passes(program.instructions, 4, 10 << 24 | 200 << 8)
    assert not passes(program.instructions, 4, 11 << 24)


@pytest.mark.parametrize("first", [0x00, 0x35, 0x55, 0x75, 0xF5])
def test_what_is_no_ip_is_dropped(first: int) -> None:
    program = bpf.compile_filter(AddressSet.parse(["all"]))
    assert run(program, bytes([first]) + bytes(39))[0] == 0
