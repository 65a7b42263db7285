"""The files of an identity: who reads what, what is used once, what is nobody else's to read."""

from __future__ import annotations

import json
import stat
import threading
from pathlib import Path

import pytest

from proxy.agent.keys import CODE_S, JOIN_SUFFIX, KeyShelf, Membership, MembershipFile, join_key, offer_code
from proxy.agent.talk import to_text
from proxy.config.settings import AgentRule
from proxy.errors import ConfigError

NOW = 1_800_000_000.0
KEY = bytes(range(32))


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "agents" / "ci.key")


def shelf_of(path: str, now: float = NOW) -> KeyShelf:
    shelf = KeyShelf(lambda: now)
    shelf.use({"ci": AgentRule("ci", path, b"", frozenset())})
    return shelf


def mode(path: str) -> int:
    return stat.S_IMODE(Path(path).stat().st_mode)


def test_a_code_is_open_for_its_time_and_once(path: str) -> None:
    code = join_key(bytes(16), "ci")
    offer_code(path, code, NOW + CODE_S, NOW)
    assert mode(path + JOIN_SUFFIX) == 0o600
    assert shelf_of(path).open_code("ci") == code
    assert shelf_of(path, NOW + CODE_S).open_code("ci") is None, "its time is over"
    shelf = shelf_of(path)
    assert shelf.key("ci") is None
    assert shelf.join("ci", KEY) == ""
    assert shelf.key("ci") == KEY
    assert mode(path) == 0o600
    assert shelf.open_code("ci") is None
    assert shelf.join("ci", bytes(32)) == "code_used"
    assert shelf.key("ci") == KEY


def test_of_many_that_use_a_code_at_once_one_succeeds(path: str) -> None:
    """As workers do, of one process or several."""
    offer_code(path, join_key(bytes(16), "ci"), NOW + CODE_S, NOW)
    results: list[tuple[int, str]] = []
    barrier = threading.Barrier(8)

    def use(number: int) -> None:
        shelf = shelf_of(path)
        barrier.wait()
        results.append((number, shelf.join("ci", bytes([number]) * 32)))

    threads = [threading.Thread(target=use, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    [winner] = [number for number, word in results if word == ""]
    assert shelf_of(path).key("ci") == bytes([winner]) * 32


def test_what_changes_in_the_file_is_seen(path: str) -> None:
    offer_code(path, join_key(bytes(16), "ci"), NOW + CODE_S, NOW)
    shelf = shelf_of(path)
    shelf.join("ci", KEY)
    assert shelf.key("ci") == KEY
    Path(path).unlink()
    assert shelf.key("ci") is None, "revoked"
    Path(path).write_text(to_text(bytes(32)) + "\n")
    assert shelf.key("ci") == bytes(32)


@pytest.mark.parametrize("content", [b"", b"\n", b"short", b"\xff" * 43, to_text(bytes(31)).encode(), b"x" * 70_000])
def test_a_file_that_is_no_key_opens_nothing(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "ci.key").write_bytes(content)
    assert shelf_of(str(tmp_path / "ci.key")).key("ci") is None


@pytest.mark.parametrize(
    "content",
    ["", "{}", "[]", "null", '{"key": 1, "until": 2}', '{"key": "xyz", "until": 9e99}', '{"key": "', "[1, 2]"],
)
def test_a_file_that_is_no_open_code_opens_nothing(tmp_path: Path, content: str) -> None:
    (tmp_path / f"ci.key{JOIN_SUFFIX}").write_text(content)
    assert shelf_of(str(tmp_path / "ci.key")).open_code("ci") is None


def test_a_key_that_is_no_file_is_as_it_was_loaded() -> None:
    shelf = KeyShelf(lambda: NOW)
    shelf.use({"ci": AgentRule("ci", "", to_text(KEY).encode(), frozenset())})
    assert shelf.key("ci") == KEY
    assert shelf.open_code("ci") is None
    assert shelf.key("other") is None


def test_an_agent_remembers_what_it_has_joined(tmp_path: Path) -> None:
    folder = str(tmp_path / "state")
    file = MembershipFile(folder)
    assert file.found == {}
    one = Membership("relay.example:443", "ci", KEY, ("ab" * 32,), "mark")
    file.keep(one, NOW)
    assert mode(f"{folder}/agent.json") == 0o600
    again = MembershipFile(folder)
    assert again.found == {"relay.example:443": one}
    assert again.of("other.example:443") == one, "relays may share a key"
    again.keep(Membership("other.example:443", "ci", bytes(32), (), ""), NOW)
    assert MembershipFile(folder).of("third.example:443") is None
    assert to_text(KEY) not in repr(one)


SHORT = {"relay": "a:1", "name": "b", "key": "c", "certificates": [], "mark": ""}


@pytest.mark.parametrize("content", ["x", "{}x", '[{"relay": "a:1"}]', "[1]", json.dumps([SHORT])])
def test_a_file_that_an_agent_has_not_written_is_told(tmp_path: Path, content: str) -> None:
    path = tmp_path / "agent.json"
    path.write_text(content)
    path.chmod(0o600)
    with pytest.raises(ConfigError, match="not what an agent has written") as error:
        MembershipFile(str(tmp_path))
    assert f"rm {path}" in str(error.value)


def test_what_an_agent_has_joined_is_its_own(tmp_path: Path) -> None:
    """Not that it has joined no relay, which a new code would not mend."""
    MembershipFile(str(tmp_path)).keep(Membership("relay.example:443", "ci", KEY, ("ab" * 32,), "mark"), NOW)
    path = tmp_path / "agent.json"
    path.chmod(0o604)
    with pytest.raises(ConfigError, match="other users may read") as error:
        MembershipFile(str(tmp_path))
    assert str(path) in str(error.value)
    assert to_text(KEY) not in str(error.value)
    path.unlink()
    path.mkdir()
    with pytest.raises(ConfigError, match="cannot be read: not a regular file"):
        MembershipFile(str(tmp_path))
