"""Which process listens on an address."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

import pytest

from proxy.config.notation import ListenAddress, read_listen
from proxy.net.sockets import Holder, holder_of


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", ""])
def test_ours_is_found_by_every_address_that_meets_it(host: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        found = holder_of(ListenAddress(host=host, port=sock.getsockname()[1]))
        assert found is not None
        assert found.pid == os.getpid()
        assert not found.is_hookward
        assert f"(process {os.getpid()})" in str(found)
    assert holder_of(ListenAddress(host="127.0.0.1", port=sock.getsockname()[1] if sock.fileno() >= 0 else 1)) is None


def test_an_address_beside_it_is_not_in_the_way() -> None:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        assert holder_of(ListenAddress(host="127.0.0.2", port=sock.getsockname()[1])) is None


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6 here")
def test_ipv6_for_both_families() -> None:
    with socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True) as sock:
        found = holder_of(ListenAddress(host="127.0.0.1", port=sock.getsockname()[1]))
        assert found is not None
        assert found.pid == os.getpid()


def test_unix_sockets(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))
        sock.listen()
        address = read_listen(f"unix:{path}")
        assert isinstance(address, ListenAddress)
        found = holder_of(address)
        assert found is not None
        assert found.pid == os.getpid()
    assert holder_of(address) is None


@pytest.mark.parametrize(
    ("command", "ours"),
    [
        ((sys.executable, "-m", "proxy", "--listen"), True),
        (("/usr/bin/python3", "-I", "/usr/bin/hookward", "--config"), True),
        (("python3", "dist/hookward.pyz"), True),
        (("nginx: master process",), False),
        (("python3", "-m", "http.server"), False),
        (("vi", "-x", "-y", "/etc/hookward/hookward.toml"), False),
        ((), False),
    ],
)
def test_what_is_a_hookward(command: tuple[str, ...], ours: bool) -> None:
    assert Holder(1, command).is_hookward is ours


def test_what_cannot_be_seen_is_said() -> None:
    assert str(Holder(None)) == "a process of another user"
