"""The private socket of a worker, on real unix sockets: where it lies, who is answered, and how a command asks all."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import stat
from collections.abc import Callable, Coroutine
from pathlib import Path

import pytest

from proxy.net import private
from proxy.net.http_server import JSON, Answer, Caller, Request
from proxy.net.private import GoneError, PrivateEnd, PrivateError, ask, ask_all, find
from proxy.ops.admin import PrivateSocket


def run(action: Callable[[PrivateSocket], Coroutine[None, None, None]], folder: Path) -> None:
    async def main() -> None:
        one = PrivateSocket(os.getpid())
        await one.open(str(folder), {})
        try:
            async with asyncio.timeout(20):
                await action(one)
        finally:
            one.close()

    asyncio.run(main())


def mode_of(path: str) -> int:
    return stat.S_IMODE(Path(path).stat().st_mode)


def open_to_all(path: str) -> None:
    Path(path).chmod(0o666)


@pytest.mark.parametrize("depth", [0, 150])
def test_it_answers_its_own_user_however_long_its_path(tmp_path: Path, depth: int) -> None:
    folder = tmp_path / ("d" * depth)
    folder.mkdir(exist_ok=True)

    async def action(one: PrivateSocket) -> None:
        assert one.path is not None
        assert mode_of(one.path) == 0o600
        [end] = find([str(folder)])
        assert end == PrivateEnd(one.path, os.getpid(), os.getpid())
        found = await ask(end, "GET", "/")
        assert (found["process"], found["worker"]) == (os.getpid(), os.getpid())

    run(action, folder)
    assert find([str(folder)]) == []


def test_parts_answer_at_their_places(tmp_path: Path) -> None:
    async def double(request: Request) -> Answer:
        return Answer(
            200, JSON, json.dumps({"id": request.params["id"], "twice": json.loads(request.content) * 2}).encode()
        )

    async def action(one: PrivateSocket) -> None:
        one.paths.add("POST /queue/{id}/drop", double)
        [end] = find([str(tmp_path)])
        assert await ask_all([end], "POST", "/queue/a%20b/drop", "x") == [{"id": "a b", "twice": "xx"}]
        with pytest.raises(PrivateError, match="not_found") as caught:
            await ask(end, "GET", "/nothing")
        assert caught.value.status == 404

    run(action, tmp_path)


def test_another_user_is_refused(tmp_path: Path) -> None:
    one = PrivateSocket(1)
    for caller in (Caller("unix:"), Caller("unix:", os.geteuid() + 1, 1), Caller("127.0.0.1")):
        found = one._judge(Request(None, b"", caller, None))
        assert isinstance(found, Answer)
        assert found.status == 403


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can ask as another user")
def test_the_kernel_says_which_user_asks(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    for folder in tmp_path.parents:
        if folder.stat().st_uid == os.geteuid() and folder != Path("/") and folder != Path("/tmp"):
            folder.chmod(folder.stat().st_mode | 0o055)

    async def action(one: PrivateSocket) -> None:
        assert one.path is not None
        open_to_all(one.path)
        code = (
            "import os, socket, sys; os.setuid(65534); s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]);"
            "s.sendall(b'GET / HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n'); print(s.recv(1000))"
        )
        asked = await asyncio.create_subprocess_exec("/usr/bin/env", "python3", "-c", code, one.path, stdout=-1)
        assert b"HTTP/1.1 403 " in (await asked.communicate())[0]

    run(action, tmp_path)


def test_what_a_killed_process_left_is_removed_and_no_live_one(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / private.socket_name(7, 7)))
    live = socket.socket(socket.AF_UNIX)
    live.bind(str(tmp_path / private.socket_name(8, 8)))
    live.listen()

    async def action(one: PrivateSocket) -> None:
        assert [end.process for end in find([str(tmp_path)])] == sorted([8, os.getpid()])

    with live:
        run(action, tmp_path)


def test_a_socket_without_a_process_is_passed_over(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / private.socket_name(7, 7)))
    [end] = find([str(tmp_path)], 7)
    assert asyncio.run(ask_all([end], "GET", "/")) == []
    with pytest.raises(GoneError):
        asyncio.run(ask(end, "GET", "/"))


def test_without_any_folder_a_worker_goes_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(private, "RUN_FOLDER", str(tmp_path / "no" / "such"))

    async def main() -> None:
        one = PrivateSocket(1)
        await one.open(None, {})
        assert one.path is None
        one.close()

    asyncio.run(main())


def test_what_says_too_much_or_no_json_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(private, "MAX_ANSWER_BYTES", 100)

    async def action(one: PrivateSocket) -> None:
        one.paths.add("GET /long", lambda _request: Answer(200, JSON, b"x" * 101))
        one.paths.add("GET /text", lambda _request: Answer(200, JSON, b"no json"))
        [end] = find([str(tmp_path)])
        with pytest.raises(PrivateError, match="too much"):
            await ask(end, "GET", "/long")
        with pytest.raises(PrivateError, match="JSON"):
            await ask(end, "GET", "/text")

    run(action, tmp_path)
