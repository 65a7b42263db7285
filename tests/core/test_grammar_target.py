"""Targets: the table of section 4 of the threat model, and that nothing but ProtocolError comes out of any bytes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.grammar import Target, check_host, parse_target
from proxy.errors import ProtocolError
from proxy.reasons import Reason

HOST = b"hooks.example.com"


def refusal(method: bytes, target: bytes, host: bytes = HOST) -> str:
    with pytest.raises(ProtocolError) as caught:
        parse_target(method, target, host)
    assert caught.value.reason is Reason.BAD_REQUEST
    return caught.value.detail


@pytest.mark.parametrize(
    "path",
    [
        b"/",
        b"/a",
        b"/a/",
        b"/flexdeploy/webhooks/v2/git",
        b"/.well-known/webhooks",
        b"/a..b/c.",
        b"/a.json/v1.2",
        b"/-_~!$&'()*+,=:@",
        b"/caf%C3%A9",
        b"/%e6%97%a5%E6%9C%AC",
        b"/a%20b",
        b"/%5B0%5D",
        b"/%C3%80/",  # its second byte is the first that no ASCII character has
        b"/%C3%A9/X",
        b"/x%23y%3Fz",
        b"/%e2%84%a2",  # the trade mark sign: NFKC turns it to letters, not to separators
    ],
)
def test_paths_that_stay_as_they_are(path):
    assert parse_target(b"POST", path, HOST) == Target(path, path, None)


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(path, id=path.decode("latin-1"))
        for path in [
            *(
                b"/a b",
                b"/a\tb",
                b"/a\x00",
                b"/a\x7f",
                b"/\xc3\xa9",
                b"/a#b",
                b"/#",
                b"/a\\b",
                b'/"',
                b"/<a>",
                b"/a|b",
                b"/^",
                b"/`",
            ),
            *(b"/{a}", b"/[a]"),
            *(b"/%", b"/%z", b"/%zz", b"/%1", b"/a%2", b"/%%41", b"/%u002e", b"/%-1", b"/%+1", b"/% 1", b"/%0x"),
            *(b"/%00", b"/%0a", b"/%0D%0aX", b"/%1f", b"/%7f", b"/%7F"),
            *(
                b"/%2f",
                b"/%2F",
                b"/a%2fb",
                b"/%5c",
                b"/%5C..",
                b"/%25",
                b"/%252e",
                b"/%25%32%65",
                b"/%2e",
                b"/%2E%2e/",
                b"/a%2e",
            ),
            *(b"/%61dmin", b"/%41", b"/%30", b"/%2d", b"/%5f", b"/%7E"),
            *(b"/%c0%af", b"/%e0%80%af", b"/%c0%80", b"/%ff", b"/%e9", b"/%ed%a0%80", b"/%f8%88%80%80%80", b"/%c3"),
            *(b"/%c2%80", b"/%c2%85", b"/%c2%9f"),
            # full-width / and \ and . and % and ; and ? and #, one dot leader, ellipsis, Greek question mark
            *(b"/%ef%bc%8f", b"/%ef%bc%bc", b"/%ef%bc%8e", b"/%ef%bc%85", b"/%ef%bc%9b", b"/%ef%bc%9f", b"/%ef%bc%83"),
            *(b"/%e2%80%a4", b"/%e2%80%a6", b"/%e2%80%a5", b"/%cd%be", b"/%e2%84%80"),  # the last is "a/c"
            # what looks like / or \\: division, fraction and big solidus, set minus, big reverse solidus
            *(b"/a%e2%88%95b", b"/%e2%81%84", b"/..%e2%a7%b8..", b"/%e2%88%96", b"/%e2%a7%b9a"),
            *(b"/.", b"/..", b"/./", b"/../", b"/a/.", b"/a/..", b"/a/./b", b"/a/../b", b"/...", b"/a/..../b"),
            *(b"/..;", b"/..;/", b"/..;x=1/", b"/..%3b/", b"/%3b", b"/%3B", b"/a;b", b"/;", b"/a;"),
            *(b"/..%20", b"/.%20/", b"/%20../", b"/a/..%20%20/b", b"/..%c2%a0/", b"/..%e3%80%80"),
            *(b"/a//b", b"//", b"//a", b"/a//", b"///", b"//evil/x", b"/%20/"),
        ]
    ],
)
def test_paths_that_are_refused(path):
    assert refusal(b"POST", path) == "path_form"


@pytest.mark.parametrize(
    "query", [b"", b"a=1", b"a?b", b"filter[x]=1|2", b"q=%zz%00", b'{"a":"<>"}', b"a;b&c\\^`", b"/../"]
)
def test_queries_stay_untouched(query):
    assert parse_target(b"GET", b"/p?" + query, HOST) == Target(b"/p?" + query, b"/p", query)


@pytest.mark.parametrize("query", [b"a b", b"a#b", b"#", b"a\tb", b"\x00", b"\x7f", b"\xc3\xa9", b"a\r\nb", b"a\n"])
def test_queries_that_are_refused(query):
    assert refusal(b"GET", b"/p?" + query) == "query_form"


@pytest.mark.parametrize(
    ("target", "origin"),
    [
        (b"http://hooks.example.com/a?b", Target(b"/a?b", b"/a", b"b")),
        (b"HTTPS://Hooks.Example.COM/", Target(b"/", b"/", None)),
        (b"http://hooks.example.com", Target(b"/", b"/", None)),
        (b"http://hooks.example.com?x", Target(b"/?x", b"/", b"x")),
    ],
)
def test_absolute_form_is_reduced(target, origin):
    assert parse_target(b"POST", target, HOST) == origin


@pytest.mark.parametrize(
    ("target", "detail"),
    [
        (b"http://evil/x", "host_conflict"),
        (b"http://hooks.example.com:80/", "host_conflict"),
        (b"http://hooks.example.com./", "host_conflict"),
        (b"http:///x", "bad_host"),
        (b"http://user@hooks.example.com/", "bad_host"),
        (b"http://hooks.example.com\\x", "bad_host"),
        (b"http://hooks.example.com#x", "path_form"),
        (b"http://hooks.example.com//x", "path_form"),
        (b"http://hooks.example.com/../x", "path_form"),
        (b"ftp://hooks.example.com/", "target_form"),
        (b"http:/x", "target_form"),
        (b"http:", "target_form"),
        (b"//hooks.example.com/x", "path_form"),
        (b"hooks.example.com:443", "target_form"),
        (b"hooks.example.com", "target_form"),
        (b"a", "target_form"),
        (b"?x", "target_form"),
        (b"#", "target_form"),
        (b"\\", "target_form"),
        (b"", "target_form"),
        (b"*", "target_form"),
        (b"**", "target_form"),
        (b"*?x", "target_form"),
    ],
)
def test_other_forms_are_refused(target, detail):
    assert refusal(b"POST", target) == detail


def test_absolute_form_needs_a_host():
    assert refusal(b"GET", b"http://hooks.example.com/", b"") == "host_conflict"


@pytest.mark.parametrize("target", [b"*", b"http://hooks.example.com"])
def test_options_may_ask_about_the_server(target):
    assert parse_target(b"OPTIONS", target, HOST) == Target(b"*", b"*", None)


@pytest.mark.parametrize("target", [b"hooks.example.com:443", b"http://hooks.example.com*"])
def test_options_gets_no_other_privilege(target):
    refusal(b"OPTIONS", target)


@pytest.mark.parametrize(
    "value",
    [
        b"a",
        b"hooks.example.com",
        b"Hooks.Example.com.",
        b"my_host-1:8080",
        b"127.0.0.1:1",
        b"[::1]",
        b"[2001:db8::1]:65535",
        b"[::ffff:192.0.2.1]:0",
        b"xn--bcher-kva.example",
    ],
)
def test_hosts(value):
    assert check_host(value) is None


@pytest.mark.parametrize(
    "value",
    [
        *(
            b"",
            b" ",
            b"a b",
            b"a/b",
            b"a@b",
            b"a,b",
            b"a:x",
            b"a:",
            b"a:-1",
            b"a:+1",
            b"a:65536",
            b"a:123456",
            b":80",
            b"a:1:2",
        ),
        *(
            b".",
            b"a..b",
            b".a",
            b"a%41",
            b"a\\b",
            b"a?b",
            b"a#b",
            b"a;b",
            b"a\x00",
            b"\xc3\xa9",
            b"a\xff",
            b"a'b",
            b"a:\xb2",
        ),
        *(
            b"::1",
            b"[::1",
            b"::1]",
            b"[]",
            b"[::g]",
            b"[1]",
            b"[::1]x",
            b"[::1]:",
            b"[fe80::1%25eth0]",
            b"[v1.a]",
            b"[::1]]",
        ),
        *(b"[1.2.3.4]", b"[:::]", b"http://a", b"a\n", b"a\r\n", b"a" * 262, b"a." * 200),
    ],
)
def test_hosts_that_are_refused(value):
    with pytest.raises(ProtocolError) as caught:
        check_host(value)
    assert (caught.value.reason, caught.value.detail) == (Reason.BAD_REQUEST, "bad_host")


PIECES = [
    *(
        b"/",
        b".",
        b"..",
        b";",
        b"%",
        b"%2",
        b"%2e",
        b"%2f",
        b"%5c",
        b"%25",
        b"%00",
        b"%c3%a4",
        b"%ef%bc%8f",
        b"%20",
        b"a",
    ),
    *(b"~", b"?", b"#", b"http://", HOST, b":", b"@", b"*", b"\\", b" ", b"\xff", b"[", b"]", b"1"),
]
BORDER = st.lists(st.sampled_from(PIECES), max_size=12).map(b"".join)


def attempt(function, *args):
    """What the function gives, or the ProtocolError it raises."""
    try:
        return function(*args)
    except ProtocolError as error:
        return error


@given(target=BORDER | BORDER.map(lambda tail: b"/" + tail) | st.binary(max_size=40), host=st.sampled_from([b"", HOST]))
def test_any_target_gives_a_target_or_a_refusal(target, host):
    found = attempt(parse_target, b"OPTIONS", target, host)
    if isinstance(found, ProtocolError):
        assert found.reason is Reason.BAD_REQUEST
    elif found.target != b"*":
        origin = target if target.startswith(b"/") else target.removeprefix(b"http://" + HOST)
        assert found.target in {origin, b"/" + origin}
        assert found.target == (found.path if found.query is None else found.path + b"?" + found.query)
        segments = found.path.split(b"/")
        assert segments[0] == b""
        assert all(segments[1:-1])
        assert not {b".", b".."} & set(segments)


@given(value=st.binary(max_size=40) | st.text("[]:.0123456789abcdefg%_-", max_size=20).map(str.encode))
def test_any_host_passes_or_is_refused(value):
    error = attempt(check_host, value)
    assert error.detail == "bad_host" if error else not set(value) & set(b" \t\r\n\0/@,\\?#")


def test_the_longest_host():
    check_host(b"a" * 255 + b":65535")
    with pytest.raises(ProtocolError):
        check_host(b"a" * 256 + b":65535")


def test_a_path_of_combining_marks_costs_linear_time():
    # Marks of two classes in turn: normalised as one text they cost quadratic time; the timeout is the test.
    path = b"/a" + b"%cc%81%cc%96" * 20_000
    assert parse_target(b"POST", path, HOST).path == path
