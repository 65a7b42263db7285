from __future__ import annotations

import string
import tomllib

from hypothesis import given
from hypothesis import strategies as st

from proxy.config.parse import line_of, locate

TEXT = '''\
listen = ["a"]   # [not.a.table]
upstream = """
key = "inside a string"
"""

[limits]
max_body = "25MiB"
"quoted key" = 1

[route.a]
path = "/[x]"
allow = [
    "one",  # comment ] with bracket
    "two",
]
token = { query = "t",
          secrets = ["x"] }
limits.max_body = 1

[route."b.c"]
note = \'\'\'
[route.fake]
\'\'\'
last = 1

[[tls]]
cert = "a"
[[tls]]
cert = "b"
[tls.deep]
x = 1
'''


def test_lines() -> None:
    lines = locate(TEXT)
    expected = {
        ("listen",): 1,
        ("upstream",): 2,
        ("limits",): 6,
        ("limits", "max_body"): 7,
        ("limits", "quoted key"): 8,
        ("route",): 10,
        ("route", "a"): 10,
        ("route", "a", "path"): 11,
        ("route", "a", "allow"): 12,
        ("route", "a", "token"): 16,
        ("route", "a", "limits", "max_body"): 18,
        ("route", "b.c"): 20,
        ("route", "b.c", "note"): 21,
        ("route", "b.c", "last"): 24,
        ("tls",): 26,
        ("tls", 0): 26,
        ("tls", 0, "cert"): 27,
        ("tls", 1): 28,
        ("tls", 1, "cert"): 29,
        ("tls", 1, "deep"): 30,
        ("tls", 1, "deep", "x"): 31,
    }
    assert lines == expected


def test_what_is_inside_has_the_line_of_what_is_around() -> None:
    lines = locate(TEXT)
    assert line_of(lines, ("route", "a", "token", "secrets", 0, "from")) == 16
    assert line_of(lines, ("nowhere",)) is None


KEYS = st.text(string.ascii_lowercase, min_size=1, max_size=4)
VALUES = st.sampled_from(['"a"', "1", "[1, 2]", "[\n1,\n]", '"""\nx = 1\n"""', "'#'", '"]"', "{ a = 1 }", "2026-01-01"])


@given(st.lists(st.tuples(KEYS, VALUES), unique_by=lambda pair: pair[0]))
def test_every_key_of_a_flat_text_has_its_line(pairs: list[tuple[str, str]]) -> None:
    text, expected = "", {}
    for key, value in pairs:
        expected[(key,)] = text.count("\n") + 1
        text += f"{key} = {value} # c\n"
    tomllib.loads(text)
    assert locate(text) == expected


@given(st.text('ab=."[]{}#\'\\\n \t"', max_size=60))
def test_never_raises(text: str) -> None:
    locate(text)
