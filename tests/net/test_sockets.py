"""Listening sockets: bound as asked, all or none, and errors that say which exit code they mean."""

from __future__ import annotations

import errno
import os
import socket
import stat

import pytest

from proxy.config.notation import ListenAddress, read_listen
from proxy.net import sockets
from proxy.net.sockets import AddressInUseError, ListenError, NoSuchSocketError, NotPermittedError, listen_all


@pytest.fixture
def listen():
    bound = []

    def listen(*entries: str, environ=None):
        found = listen_all([read_listen(entry) for entry in entries], environ or {})
        bound.extend(found)
        return found

    yield listen
    for one in bound:
        one.close()


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as sock:
            sock.bind(("::1", 0))
    except OSError:
        return False
    return True


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="this host has no IPv6")


def connects(family: int, address: tuple[str, int]) -> bool:
    with socket.socket(family) as sock:
        return sock.connect_ex(address) == 0


def test_a_socket_listens_and_is_not_inherited(listen):
    [bound] = listen("127.0.0.1:0")
    sock = bound.sock
    assert connects(socket.AF_INET, sock.getsockname())
    assert not sock.getblocking()
    assert not sock.get_inheritable()
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR)
    assert str(bound) == f"127.0.0.1:{sock.getsockname()[1]}"


def test_a_port_in_use_is_exit_69(listen):
    [bound] = listen("127.0.0.1:0")
    with pytest.raises(AddressInUseError, match="another process") as caught:
        listen(f"127.0.0.1:{bound.sock.getsockname()[1]}")
    assert caught.value.exit_code == 69
    assert "\n    `ss -ltnxp` shows which" in str(caught.value)


def test_all_or_nothing(listen):
    [taken] = listen("127.0.0.1:0")
    free = free_port()
    with pytest.raises(AddressInUseError):
        listen(f"127.0.0.1:{free}", f"127.0.0.1:{taken.sock.getsockname()[1]}")
    assert not connects(socket.AF_INET, ("127.0.0.1", free))


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM])
def test_a_port_that_is_not_permitted_is_exit_77(listen, monkeypatch, number):
    def refuse(*_, **__):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(sockets, "_bind", refuse)
    with pytest.raises(NotPermittedError) as caught:
        listen("127.0.0.1:443")
    assert caught.value.exit_code == 77
    assert "\n    a port below 1024 needs CAP_NET_BIND_SERVICE" in str(caught.value)


def test_an_address_of_another_host_is_exit_78(listen):
    with pytest.raises(NoSuchSocketError, match=r"192\.0\.2\.1:443") as caught:
        listen("192.0.2.1:443")
    assert caught.value.exit_code == 78


@needs_ipv6
def test_the_ipv6_wildcard_alone_takes_both_families(listen):
    [bound] = listen("[::]:0")
    port = bound.sock.getsockname()[1]
    assert connects(socket.AF_INET, ("127.0.0.1", port))
    assert connects(socket.AF_INET6, ("::1", port))
    assert str(bound) == f"[::]:{port}"


@needs_ipv6
@pytest.mark.parametrize("order", [1, -1])
def test_the_ipv6_wildcard_leaves_ipv4_to_who_is_named_for_it(listen, order):
    port = free_port()
    both = listen(*[f"0.0.0.0:{port}", f"[::]:{port}"][::order])
    assert {one.sock.family for one in both} == {socket.AF_INET, socket.AF_INET6}


@needs_ipv6
def test_a_port_alone_takes_both_families(listen):
    [bound] = listen(":0")
    port = bound.sock.getsockname()[1]
    assert connects(socket.AF_INET, ("127.0.0.1", port))
    assert connects(socket.AF_INET6, ("::1", port))


def test_a_port_alone_on_a_host_without_ipv6(listen, monkeypatch):
    bind = sockets._bind

    def without_ipv6(family, where, **kind):
        if family == socket.AF_INET6:
            raise OSError(errno.EAFNOSUPPORT, "no such family")
        return bind(family, where, **kind)

    monkeypatch.setattr(sockets, "_bind", without_ipv6)
    [bound] = listen(":0")
    assert bound.sock.family == socket.AF_INET


def test_a_wildcard_in_use_is_not_tried_again_as_ipv4(listen, monkeypatch):
    def refuse(*_, **__):
        raise OSError(errno.EADDRINUSE, "in use")

    monkeypatch.setattr(sockets, "_bind", refuse)
    with pytest.raises(AddressInUseError):
        listen(":443")


class TestUnix:
    def test_mode_and_removal(self, listen, tmp_path):
        path = tmp_path / "hookward.sock"
        [bound] = listen(f"unix:{path}")
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
        assert str(bound) == f"unix:{path}"
        bound.close()
        assert not path.exists()

    def test_a_worker_leaves_the_file(self, listen, tmp_path):
        path = tmp_path / "hookward.sock"
        [bound] = listen(f"unix:{path}")
        bound.close(unlink=False)
        assert path.exists()

    def test_a_file_that_took_our_place_is_left(self, listen, tmp_path):
        path = tmp_path / "hookward.sock"
        [first] = listen(f"unix:{path}")
        path.rename(tmp_path / "old.sock")  # keeps its inode in use
        listen(f"unix:{path}")
        first.close()
        assert path.exists()

    def test_a_stale_socket_is_replaced(self, listen, tmp_path):
        path = tmp_path / "hookward.sock"
        listen(f"unix:{path}")[0].close(unlink=False)
        [bound] = listen(f"unix:{path}")
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
        bound.close()

    def test_one_that_answers_is_not(self, listen, tmp_path):
        path = tmp_path / "hookward.sock"
        listen(f"unix:{path}")
        with pytest.raises(AddressInUseError):
            listen(f"unix:{path}")
        assert path.exists()

    def test_one_whose_queue_is_full_is_not(self, listen, tmp_path):
        path = tmp_path / "busy.sock"
        with socket.socket(socket.AF_UNIX) as busy, socket.socket(socket.AF_UNIX) as first:
            busy.bind(str(path))
            busy.listen(0)
            first.connect(str(path))
            with pytest.raises(AddressInUseError):
                listen(f"unix:{path}")
        assert path.exists()

    @pytest.mark.parametrize("kind", ["file", "directory", "link"])
    def test_what_is_no_socket_is_left_alone(self, listen, tmp_path, kind):
        path = tmp_path / "precious"
        if kind == "file":
            path.write_text("data")
        elif kind == "directory":
            path.mkdir()
        else:
            path.symlink_to(tmp_path / "nowhere")
        with pytest.raises(AddressInUseError, match="no socket"):
            listen(f"unix:{path}")
        assert path.is_symlink() or path.exists()

    def test_a_directory_that_does_not_exist(self, listen, tmp_path):
        with pytest.raises(NoSuchSocketError):
            listen(f"unix:{tmp_path}/missing/hookward.sock")

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
    def test_a_directory_that_is_not_ours(self, listen, tmp_path):
        closed = tmp_path / "closed"
        closed.mkdir(mode=0o555)
        with pytest.raises(NotPermittedError):
            listen(f"unix:{closed}/hookward.sock")


class TestActivation:
    """Descriptors begin at 3, which belongs to somebody in this process: the first number is moved."""

    @pytest.fixture
    def passed(self, monkeypatch):
        listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
        first = 200
        for i, listener in enumerate(listeners):
            os.dup2(listener.fileno(), first + i)
        monkeypatch.setattr(sockets, "_FIRST_FD", first)
        yield listeners
        for i, listener in enumerate(listeners):
            listener.close()
            os.close(first + i)

    def environ(self, names: str | None = "web:admin:web", count: str = "3", pid: int | None = None) -> dict[str, str]:
        environ = {"LISTEN_PID": str(pid or os.getpid()), "LISTEN_FDS": count}
        return environ if names is None else environ | {"LISTEN_FDNAMES": names}

    def test_by_name(self, listen, passed):
        [bound] = listen("fd:admin", environ=self.environ())
        assert bound.sock.getsockname() == passed[1].getsockname()
        assert not bound.sock.getblocking()
        assert not bound.sock.get_inheritable()

    def test_a_name_may_stand_for_several(self, listen, passed):
        bound = listen("fd:web", environ=self.environ())
        assert [one.sock.getsockname() for one in bound] == [passed[0].getsockname(), passed[2].getsockname()]

    def test_without_names_they_are_unknown(self, listen, passed):
        assert len(listen("fd:unknown", environ=self.environ(names=None, count="2"))) == 2

    @pytest.mark.parametrize(
        ("changes", "why"),
        [
            ({"pid": 1}, "no sockets to this process"),
            ({"names": "a:b:c"}, "none of that name"),
            ({"count": "0"}, "none of that name"),
            ({"count": "-1"}, "none of that name"),
            ({"count": ""}, "none of that name"),
        ],
    )
    def test_what_was_not_passed(self, listen, passed, changes, why):
        with pytest.raises(NoSuchSocketError, match=why):
            listen("fd:web", environ=self.environ(**changes))

    def test_a_descriptor_that_does_not_listen(self, listen, monkeypatch):
        with socket.socket() as idle:
            monkeypatch.setattr(sockets, "_FIRST_FD", idle.fileno())
            with pytest.raises(NoSuchSocketError, match="no listening stream socket"):
                listen("fd:web", environ=self.environ(names="web", count="1"))

    def test_a_descriptor_that_is_closed(self, listen, monkeypatch):
        monkeypatch.setattr(sockets, "_FIRST_FD", 900)
        with pytest.raises(NoSuchSocketError):
            listen("fd:web", environ=self.environ(names="web", count="1"))


def test_every_kind_of_error_is_one_kind():
    assert all(issubclass(kind, ListenError) for kind in (AddressInUseError, NotPermittedError, NoSuchSocketError))


def test_an_address_knows_itself():
    assert str(ListenAddress("::1", 443)) == "[::1]:443"
