from __future__ import annotations

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.config.parse import Source, parse_tables, parse_text
from proxy.config.problems import Problems
from proxy.config.schema import SECTIONS
from proxy.errors import dotted


def parse(text: str) -> tuple[dict[str, object], list[tuple[str, str, str]]]:
    problems = Problems()
    tree = parse_text(text, "h.toml", "", problems)
    values = {dotted(path): entry.value for path, entry in tree.leaves()}
    return values, [(p.where, p.what, p.mend) for p in problems.found]


def test_values_are_read_by_their_kinds() -> None:
    values, problems = parse(
        """
        listen = ":443"
        [limits]
        max_body = "1MiB"
        [route.a]
        methods = ["POST", "PUT"]
        secrets = ["file:a", { from = "env:B", not_after = 2026-12-15 }]
        token = { query = "t", secrets = "file:c" }
        [[tls]]
        cert = "a"
        [[tls]]
        cert = "b"
        """
    )
    assert not problems
    assert values["limits.max_body"] == 1 << 20
    assert values["route.a.methods"] == (b"POST", b"PUT")
    assert values["route.a.secrets[0].from"] == "file:a"
    assert values["route.a.secrets[1].not_after"] == dt.datetime(2026, 12, 15, tzinfo=dt.UTC).timestamp()
    assert values["route.a.token.secrets[0].from"] == "file:c"
    assert (values["tls[0].cert"], values["tls[1].cert"]) == ("a", "b")


def test_one_table_of_a_list_needs_no_list() -> None:
    values, problems = parse('[tls]\ncert = "a"\n')
    assert values == {"tls[0].cert": "a"}
    assert not problems


@pytest.mark.parametrize(
    ("text", "where", "what", "mend"),
    [
        ('upstrem = "x"', "h.toml:1: upstrem", "unknown key", "did you mean 'upstream'?"),
        ("\nxyzzy = 1", "h.toml:2: xyzzy", "unknown key", "keys here: listen"),
        ("[limts]\nmax_body = 1", "h.toml:1: limts", "unknown key", "did you mean 'limits'?"),
        ("[route.a]\nsecret = 'x'", "h.toml:2: route.a.secret", "unknown key", "did you mean 'secrets'?"),
        ("[route.a]\nbackend = 'x'", "h.toml:2: route.a.backend", "unknown key", "did you mean 'upstream'?"),
        ("route = 5", "h.toml:1: route", "is not a table", "[route.NAME]"),
        ("route.a = 5", "h.toml:1: route.a", "is not a table", "[route.a]"),
        ('[route."a b"]', "h.toml:1: route.a b", "is not a name", "letters"),
        ("limits = 5", "h.toml:1: limits", "is not a table", "max_body"),
        ("tls = 5", "h.toml:1: tls", "is not a table", "cert"),
        ("tls = [{}, 5]", "h.toml:1: tls[1]", "is not a table", "cert"),
        ("listen = []", "h.toml:1: listen", "empty list", "at least one"),
        ("listen = [':1', 5]", "h.toml:1: listen[1]", "not a text", "0.0.0.0:443"),
        ("listen = 5", "h.toml:1: listen", "not a text", "0.0.0.0:443"),
        ("[limits]\nmax_body = '25m'", "h.toml:2: limits.max_body", "25MiB?", "25MiB"),
        ("[limits]\nmax_body = 0", "h.toml:2: limits.max_body", "below the least", "from 1B to 1TiB"),
        ("[limits]\nhead_timeout = '2h'", "h.toml:2: limits.head_timeout", "above the most", "from 10ms to 1h"),
        ("[limits]\nhead_timeout = 8", "h.toml:2: limits.head_timeout", "no unit", "8s"),
        ("[route.a]\nsecrets = [5]", "h.toml:2: route.a.secrets[0]", "is not a table", "from"),
        ("[route.a]\nsecrets = ['hunter2']", "h.toml:2: route.a.secrets[0]", "not shown", "file:/path"),
        ("[route.a]\nsecrets = 'hunter2'", "h.toml:2: route.a.secrets", "not shown", "file:/path"),
        ("[route.a]\nsecrets = [{from='hunter2'}]", "h.toml:2: route.a.secrets[0].from", "not shown", "file:/path"),
        ("[route.a]\ntoken = {secrets=['hunter2']}", "h.toml:2: route.a.token.secrets[0]", "not shown", "file:/path"),
        ("[route.a]\nverify_token = 'hunter2'", "h.toml:2: route.a.verify_token", "not shown", "file:/path"),
        ("[route.g]\npath = '/g'\nlisten = ':1'", "h.toml:3: route.g.listen", "top level", "above the first [table]"),
        ("[route.g]\nprovider = ['a', 'b']", "h.toml:2: route.g.provider", "takes one value", "a route of its own"),
        ("open = true\n[routes.x]\npath = '/'", "h.toml:2: routes", "unknown key", "did you mean 'route'?"),
        ("open = true\n[[route]]\npath = '/'", "h.toml:2: route", "is not a table", "[route.NAME]"),
        ("a = 1\nb = = hunter2", "h.toml:2", "not TOML", "toml.io"),
        ("a = 1\na = 2", "h.toml:2", "not TOML", "toml.io"),
        ('secret = "hunter2', "h.toml:1", "not TOML", "toml.io"),
        ("a = " + "[" * 5000, "h.toml", "nested too deeply", "toml.io"),
        ("a = 1" + "0" * 5000, "h.toml", "not TOML", "toml.io"),
    ],
)
def test_mistakes(text: str, where: str, what: str, mend: str) -> None:
    _, problems = parse(text)
    [problem] = problems
    assert problem[0] == where
    assert what in problem[1]
    assert mend in problem[2]
    assert "hunter2" not in str(problems)


def test_the_rest_is_still_read() -> None:
    values, problems = parse("workers = 'x'\nopen = true\nlog_level = 'loud'\n")
    assert values == {"open": True}
    assert len(problems) == 2


WORDS = [*sorted({key.name for section in SECTIONS.values() for key in section.keys}), "x", "a b", ""]
SCALARS = st.one_of(
    st.text(max_size=12),
    st.integers(),
    st.floats(),
    st.booleans(),
    st.dates(),
    st.datetimes(),
    st.times(),
    st.sampled_from(["file:/x", "env:X", "POST", "github", ":443", "1MiB", "8s", "tail", "set:github", "10.0.0.0/8"]),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(WORDS), inner, max_size=4)),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(WORDS), VALUES, max_size=6))
def test_any_tables_give_a_tree_and_problems(tables: dict[str, object]) -> None:
    problems = Problems()
    parse_tables(tables, Source("h.toml"), problems)
    assert all(problem.what and problem.mend and problem.where for problem in problems.found)
