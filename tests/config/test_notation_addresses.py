from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.config.notation import (
    ListenAddress,
    UpstreamAddress,
    read_listen,
    read_tcp_pair,
    read_tcp_upstream,
    read_upstream,
)
from proxy.errors import Mistake


@pytest.mark.parametrize(
    ("written", "address", "shown"),
    [
        ("0.0.0.0:443", ListenAddress("0.0.0.0", 443), "0.0.0.0:443"),
        ("[::]:443", ListenAddress("::", 443), "[::]:443"),
        ("[::1]:0", ListenAddress("::1", 0), "[::1]:0"),
        (":443", ListenAddress("", 443), ":443"),
        ("443", ListenAddress("", 443), ":443"),
        ("*:443", ListenAddress("", 443), ":443"),
        ("localhost:443", ListenAddress("127.0.0.1", 443), "127.0.0.1:443"),
        ("unix:/run/hookward.sock", ListenAddress(path="/run/hookward.sock"), "unix:/run/hookward.sock"),
        ("unix:///run/h.sock", ListenAddress(path="/run/h.sock"), "unix:/run/h.sock"),
        ("fd:web", ListenAddress(fd_name="web"), "fd:web"),
    ],
)
def test_listening_addresses(written: str, address: ListenAddress, shown: str) -> None:
    assert read_listen(written) == address
    assert str(address) == shown
    assert read_listen(shown) == address


@pytest.mark.parametrize(
    ("written", "word"),
    [
        ("", "no port"),
        ("0.0.0.0", "no port"),
        ("[::1]", "no port"),
        ("::1:443", "without brackets"),
        ("example.com:443", "not an address"),
        ("0.0.0.0:65536", "not a port"),
        ("0.0.0.0:-1", "not a port"),
        ("0.0.0.0:٣", "not a port"),
        ("http://0.0.0.0:443", "URL"),
        ("unix:run.sock", "full path"),
        ("unix:/" + "x" * 107, "too long"),
        ("fd:", "no descriptor"),
        ("fd:a b", "no descriptor"),
        ("0.0.0.0:443\n", "printed"),
        (443, "not a text"),
        (None, "not a text"),
    ],
)
def test_what_is_no_listening_address(written: object, word: str) -> None:
    with pytest.raises(Mistake, match=word):
        read_listen(written)


@pytest.mark.parametrize(
    ("written", "local"),
    [("127.0.0.1:1", True), ("[::1]:1", True), ("unix:/a", True), (":1", False), ("0.0.0.0:1", False), ("fd:a", False)],
)
def test_who_can_reach_it(written: str, local: bool) -> None:
    assert read_listen(written).is_local is local


@pytest.mark.parametrize(
    ("written", "address"),
    [
        ("http://127.0.0.1:8000", UpstreamAddress("127.0.0.1", 8000)),
        ("http://127.0.0.1:8000/", UpstreamAddress("127.0.0.1", 8000)),
        ("127.0.0.1:8000", UpstreamAddress("127.0.0.1", 8000)),
        ("8000", UpstreamAddress("127.0.0.1", 8000)),
        ("localhost:8000", UpstreamAddress("localhost", 8000)),
        ("app_1:8000", UpstreamAddress("app_1", 8000)),
        ("http://app", UpstreamAddress("app", 80)),
        ("https://app", UpstreamAddress("app", 443, secure=True)),
        ("HTTPS://app.example.com:8443", UpstreamAddress("app.example.com", 8443, secure=True)),
        ("https://[2001:db8::1]", UpstreamAddress("2001:db8::1", 443, secure=True)),
        ("http://[::1]:8000", UpstreamAddress("::1", 8000)),
        ("unix:/run/app.sock", UpstreamAddress(path="/run/app.sock")),
        ("unix:/run/app.sock:/", UpstreamAddress(path="/run/app.sock")),
        ("unix:/run/app.sock:/a/b", UpstreamAddress(path="/run/app.sock", base=b"/a/b")),
        ("http://127.0.0.1:8000/a/b", UpstreamAddress("127.0.0.1", 8000, base=b"/a/b")),
        ("http://127.0.0.1:8000/a/", UpstreamAddress("127.0.0.1", 8000, base=b"/a")),
        ("https://app/caf%C3%A9", UpstreamAddress("app", 443, secure=True, base=b"/caf%C3%A9")),
    ],
)
def test_upstreams(written: str, address: UpstreamAddress) -> None:
    assert read_upstream(written) == address


@pytest.mark.parametrize(
    ("written", "what", "mend"),
    [
        ("http://127.0.0.1:8000/app?x=1", "no query", "remove what follows"),
        ("http://127.0.0.1:8000?x=1", "no query", "remove what follows"),
        ("http://127.0.0.1:8000/a/../b", "no path that requests may have", "neither empty nor"),
        ("http://127.0.0.1:8000/a//b", "no path that requests may have", "neither empty nor"),
        ("http://127.0.0.1:8000/%2e", "no path that requests may have", "use letters"),
        ("http://127.0.0.1:8000/\u00e9", "no path that requests may have", "use letters"),
        ("unix:/run/app.sock:/a;b", "no path that requests may have", "use letters"),
        ("http://u:p@127.0.0.1:8000", "password", "before the '@'"),
        ("ftp://127.0.0.1", "scheme", "http://"),
        ("app", "no port", "127.0.0.1:8000"),
        ("http://", "no host", "127.0.0.1:8000"),
        (":8000", "no host", "127.0.0.1:8000"),
        ("127.0.0.1:0", "port 0", "127.0.0.1:8000"),
        ("http://a b:80", "not a host name", "127.0.0.1:8000"),
        ("http://[::g]:80", "not an IPv6", "127.0.0.1:8000"),
        ("::1:80", "without brackets", "[::1]:8000"),
        ("unix:app.sock", "full path", "unix:/run"),
        (8000, "not a text", "127.0.0.1:8000"),
    ],
)
def test_what_is_no_upstream(written: object, what: str, mend: str) -> None:
    with pytest.raises(Mistake, match=what) as caught:
        read_upstream(written)
    assert mend in caught.value.mend
    assert "u:p" not in caught.value.what + caught.value.mend


def test_plain_tcp_goes_to_no_url() -> None:
    assert read_tcp_upstream("127.0.0.1:22") == UpstreamAddress("127.0.0.1", 22)
    with pytest.raises(Mistake, match="URL"):
        read_tcp_upstream("http://127.0.0.1:22")
    with pytest.raises(Mistake, match="no paths"):
        read_tcp_upstream("unix:/run/app.sock:/base")


@pytest.mark.parametrize(
    ("written", "name", "listen", "upstream"),
    [
        ("0.0.0.0:2222=127.0.0.1:22", None, ListenAddress("0.0.0.0", 2222), UpstreamAddress("127.0.0.1", 22)),
        ("2222=22", None, ListenAddress("", 2222), UpstreamAddress("127.0.0.1", 22)),
        ("[::]:2222=[::1]:22", None, ListenAddress("::", 2222), UpstreamAddress("::1", 22)),
        ("ssh=2222=host:22", "ssh", ListenAddress("", 2222), UpstreamAddress("host", 22)),
        ("unix:/a=unix:/b", None, ListenAddress(path="/a"), UpstreamAddress(path="/b")),
    ],
)
def test_tcp_pairs(written: str, name: str | None, listen: ListenAddress, upstream: UpstreamAddress) -> None:
    assert read_tcp_pair(written) == (name, listen, upstream)


@pytest.mark.parametrize("written", ["", "2222", "a=b=c=d", "=22", "2222=", "a b=2222=22", "2222=http://a:1", 5])
def test_what_is_no_tcp_pair(written: object) -> None:
    with pytest.raises(Mistake):
        read_tcp_pair(written)


@pytest.mark.parametrize("read", [read_listen, read_upstream, read_tcp_upstream, read_tcp_pair])
@given(written=st.one_of(st.text(max_size=60), st.text("0123456789.:[]/=@unixhtps-_ ", max_size=40), st.integers()))
def test_junk_raises_mistakes_only(read: Callable[[object], object], written: object) -> None:
    try:
        read(written)
    except Mistake as mistake:
        assert mistake.what  # noqa: PT017 - raising nothing is as good
        assert mistake.mend  # noqa: PT017


@pytest.mark.parametrize(
    ("upstream", "loads"),
    [
        ("127.0.0.1:8000", False),
        ("[::1]:8000", False),
        ("unix:/run/app.sock", False),
        ("app:8000", True),
        ("https://127.0.0.1:8443", True),
    ],
)
def test_what_encodes_names_is_loaded_where_there_is_one(upstream: str, loads: bool) -> None:
    code = "import sys; from proxy.config.notation import *; read_upstream(sys.argv[1]); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code, upstream], capture_output=True, text=True, check=True)
    assert ("encodings.idna" in done.stdout.split()) == loads
