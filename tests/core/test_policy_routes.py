"""Which routes own a path: whole segments; those of the longest path alone, in the order of the file."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.policy import Route, RouteTable
from tests import policies


def route(name: str, path: bytes, **changes: Any) -> Route:
    return policies.route(name=name, path=path, **changes)


def names(table: RouteTable[Route], path: bytes) -> list[str]:
    return [found.name for found in table.candidates(path)]


TABLE = RouteTable(
    [
        route("all", b"/"),
        route("hooks", b"/hooks"),
        route("v2", b"/hooks/v2"),
        route("v2 again", b"/hooks/v2"),
        route("v2 exact", b"/hooks/v2", exact=True),
        route("slash", b"/x/"),
        route("slash exact", b"/x/", exact=True),
        route("deep exact", b"/a/b/c", exact=True),
    ]
)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (b"/", ["all"]),
        (b"/other", ["all"]),
        (b"/hooks", ["hooks"]),
        (b"/hooks/", ["hooks"]),
        (b"/hooks/v1", ["hooks"]),
        (b"/hooks/v2", ["v2", "v2 again", "v2 exact"]),
        (b"/hooks/v2/", ["v2", "v2 again"]),
        (b"/hooks/v2/git/push", ["v2", "v2 again"]),
        (b"/hooks/v2evil", ["hooks"]),
        (b"/hooks/V2", ["hooks"]),
        (b"/HOOKS/v2", ["all"]),
        (b"/hooksv2", ["all"]),
        (b"/x", ["all"]),
        (b"/x/", ["slash", "slash exact"]),
        (b"/x/y", ["slash"]),
        (b"/xy", ["all"]),
        (b"/a/b/c", ["deep exact"]),
        (b"/a/b/c/", ["all"]),
        (b"/a/b/c/d", ["all"]),
        (b"/a/b", ["all"]),
        (b"*", []),
        (b"", []),
        (b"hooks", []),
    ],
)
def test_candidates(path, expected):
    assert names(TABLE, path) == expected


def test_a_path_with_and_one_without_a_slash_may_both_be_routes():
    table = RouteTable([route("plain", b"/x"), route("slash", b"/x/")])
    assert names(table, b"/x") == ["plain"]
    assert names(table, b"/x/") == names(table, b"/x/y") == ["slash"]


def test_no_route_owns_nothing():
    assert RouteTable([]).candidates(b"/") == ()
    assert RouteTable([]).candidates(b"/a/b") == ()


def test_an_exact_root_owns_the_root_alone():
    table = RouteTable([route("root", b"/", exact=True)])
    assert names(table, b"/") == ["root"]
    assert names(table, b"/a") == []


SEGMENTS = st.lists(st.sampled_from([b"a", b"b", b"aa", b""]), max_size=4)
PATHS = SEGMENTS.map(lambda segments: b"/" + b"/".join(segments))


@given(st.lists(st.tuples(PATHS, st.booleans()), max_size=12), PATHS)
def test_every_path_has_the_owners_that_the_rule_says(configured, path):
    routes = [route(str(number), own, exact=exact) for number, (own, exact) in enumerate(configured)]
    owners = [
        one
        for one in routes
        if path == one.path
        or (not one.exact and path.startswith(one.path if one.path.endswith(b"/") else one.path + b"/"))
    ]
    longest = max((len(one.path) for one in owners), default=0)
    assert RouteTable(routes).candidates(path) == tuple(one for one in owners if len(one.path) == longest)


def test_what_is_longer_than_every_route_costs_no_more_lookups():
    table = RouteTable([route("hooks", b"/hooks"), route("deep", b"/hooks/a/b")])
    steps = 0

    def count(frame, event, arg):
        nonlocal steps
        steps += event == "line"
        return count

    previous = sys.gettrace()
    sys.settrace(count)
    try:
        found = table.candidates(b"/hooks" + b"/c" * 4096)
    finally:
        sys.settrace(previous)
    assert [one.name for one in found] == ["hooks"]
    assert steps < 40


def test_lookups_leave_nothing_behind():
    table = RouteTable([route("hooks", b"/hooks")])
    before = (len(table._at), len(table._below))
    for number in range(1000):
        table.candidates(b"/hooks/%d" % number)
        table.candidates(b"/%d" % number)
    assert (len(table._at), len(table._below)) == before
    assert not hasattr(table, "__dict__")


def test_the_answer_for_a_configured_path_is_laid_out():
    assert TABLE.candidates(b"/hooks/v2") is TABLE.candidates(b"/hooks/v2")
