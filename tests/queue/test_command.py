"""The words of ``hookward queue``; what it does is tried on real processes in ``tests/whole/test_queue.py``."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from proxy.errors import FlagError
from proxy.queue import command
from proxy.queue.folder import QueueFolder
from tests.queue.conformance import parcel
from tests.queue.test_sqlite_store import with_store


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The folder of a store with three deliveries."""
    monkeypatch.setattr(command, "RATE_S", 0.01)
    folder = tmp_path / "queue"
    with_store(folder, lambda one: one.append([parcel("a"), parcel("b", "other"), parcel("c", body=b"x" * 100_000)]))
    return str(folder)


def run(store: str, *words: str) -> int:
    return command.main([*words, "--queue-path", store])


def test_status(store: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(store) == 0
    assert run(store, "--json") == 0
    out = capsys.readouterr().out.splitlines()
    assert out[1].split()[:3] == ["hook", "2", "0"]
    assert out[3] == "no process delivers from it now"
    assert [json.loads(line)["route"] for line in out[4:]] == ["hook", "other"]


def test_words_search(store: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(store, "list", "route:hook", "size>1k") == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["c"]
    assert run(store, "list", "--search=-route:hook") == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["b"]
    assert run(store, "list", "--limit", "1") == 0
    assert capsys.readouterr().out.splitlines()[1] == "there are more: --limit 2"


def test_export(store: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(store, "export", "route:hook") == 0
    assert run(store, "export", "a", "b") == 0
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [one["id"] for one in found] == ["a", "c", "a", "b"]
    assert len(found[1]["body_base64"]) > 130_000


def test_drop_and_replay(store: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(store, "replay", "--since", "2000-01-01") == 0
    assert run(store, "drop", "a") == 0
    assert run(store, "drop", "--search", "route:hook", "--yes") == 0
    assert run(store, "drop", "nothing") == 1
    assert capsys.readouterr().out.splitlines() == ["3 replayed", "1 dropped", "1 dropped", "0 dropped"]
    assert list((Path(store) / "bodies").iterdir()) == []


def test_pause(store: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(store, "pause", "hook") == 0
    assert run(store, "status", "--json") == 0
    assert json.loads(capsys.readouterr().out.splitlines()[1])["paused"]


def test_a_route_that_delivers_directly_is_not_said_to_be_paused(store: str, tmp_path: Path) -> None:
    config, secret = tmp_path / "hookward.toml", tmp_path / "secret"
    secret.write_text("0123456789abcdef")
    secret.chmod(0o600)
    guard = 'provider = "github"\nsecrets = ["file:secret"]\n'
    config.write_text(
        f'listen = "127.0.0.1:0"\nupstream = "127.0.0.1:1"\n[queue]\npath = "{store}"\n'
        f'[route.new]\npath = "/new"\ndeliver = "queue"\n{guard}[route.hook]\npath = "/hook"\n{guard}'
    )
    assert command.main(["pause", "new", "-c", str(config)]) == 0
    with pytest.raises(FlagError, match="'hook' is no route that keeps"):
        command.main(["pause", "hook", "-c", str(config)])
    assert command.main(["resume", "hook", "-c", str(config)]) == 0


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (["show"], "needs an id"),
        (["replay"], "needs ids"),
        (["drop", "--dead"], "removes for good"),
        (["pause"], "needs a route"),
        (["pause", "other", "hok"], "'hok' is no route that keeps"),
        (["list", "rout:x"], "no search word"),
        (["list", "--since", "yesterday"], "no age"),
    ],
)
def test_what_cannot_be_done(store: str, words: list[str], what: str) -> None:
    with pytest.raises(FlagError) as caught:
        run(store, *words)
    assert what in str(caught.value)


def test_where_the_store_is_must_be_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HOOKWARD_CONFIG", raising=False)
    with pytest.raises(FlagError, match="where the store is"):
        command.main([])


def test_a_store_that_was_never_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--queue-path", str(tmp_path / "nothing")]) == 1
    assert "nothing was ever kept" in capsys.readouterr().err
    assert not (tmp_path / "nothing").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_root_becomes_the_owner(tmp_path: Path) -> None:
    """Else files of root's would lie there, or root would follow what another user put in their place."""
    tmp_path.chmod(0o711)
    folder = tmp_path / "queue"
    QueueFolder(folder)
    for path in (folder, folder / "bodies", folder / "queue.sqlite3"):
        os.chown(path, 65534, 65534)
    for above in folder.parents:
        if above == Path("/tmp"):
            break
        above.chmod(above.stat().st_mode | 0o011)
    pid = os.fork()
    if pid == 0:
        os._exit(command.main(["--queue-path", str(folder)]))
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert {path.stat().st_uid for path in folder.iterdir()} == {65534}
