"""``ip-sets`` as people type it: show, diff, refresh, and their exit codes."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from proxy.errors import ConfigError
from proxy.tools.ip_sets import main

LIST = ["192.0.2.0/24", "2001:db8::/32"]


class Feed:
    """A feed server on a thread."""

    def __init__(self) -> None:
        self.content = json.dumps({"prefixes": LIST}).encode()
        self.status = 200
        feed = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(feed.status)
                self.send_header("Content-Length", str(len(feed.content)))
                self.end_headers()
                self.wfile.write(feed.content)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True)
        self.thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def feed() -> Iterator[Feed]:
    made = Feed()
    yield made
    made.close()


@pytest.fixture
def config(tmp_path: Path, feed: Feed, monkeypatch: pytest.MonkeyPatch) -> str:
    for name in [name for name in os.environ if name.startswith("HOOKWARD_")]:
        monkeypatch.delenv(name)
    path = tmp_path / "hookward.toml"
    path.write_text(
        'state_dir = "state"\nallow = ["set:office"]\n'
        f'[ip_set.office]\nurl = "http://127.0.0.1:{feed.server.server_port}/"\njson = "prefixes[]"\n'
    )
    return str(path)


def test_every_list_is_shown(config: str, capsys: pytest.CaptureFixture[str]):
    assert main([]) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[0].split() == ["SET", "PREFIXES", "CONFIRMED", "AGE", "FROM", "FEED"]
    assert "github" in out
    assert "office" not in out
    assert main(["--config", config, "--json"]) == 0
    rows = {row["set"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows["office"]["confirmed"] is None
    assert rows["github"]["prefixes"] >= 6


def test_prefixes_are_shown_one_a_line(capsys: pytest.CaptureFixture[str]):
    assert main(["show", "gitlab"]) == 0
    assert capsys.readouterr().out == "34.74.90.64/28\n34.74.226.0/24\n"
    assert main(["set:svix?region=eu", "--json"]) == 0
    assert "52.215.16.239" in json.loads(capsys.readouterr().out)


def test_what_is_not_here_fails(config: str, capsys: pytest.CaptureFixture[str]):
    assert main(["show", "gitlab", "bitbucket", "--config", config]) == 1
    found = capsys.readouterr()
    assert "34.74.90.64/28" in found.out
    assert "bitbucket: nothing of it is here yet: hookward ip-sets refresh atlassian" in found.err
    assert main(["show", "github?region=x"]) == 1


def test_refresh_keeps_what_the_feed_says(config: str, feed: Feed, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["refresh", "--config", config]) == 0
    assert capsys.readouterr().out == "office: 2 (192.0.2.0/24, 2001:db8::/32) added, 0 removed; 2 prefixes\n"
    stored = tmp_path / "state" / "ip-sets" / "office.json"
    assert stored.stat().st_mode & 0o777 == 0o600
    assert main(["show", "office", "--config", config]) == 0
    assert capsys.readouterr().out.split() == LIST
    os.utime(stored, (1_700_000_000, 1_700_000_000))
    assert main(["refresh", "office", "--config", config]) == 0
    assert "0 added, 0 removed" in capsys.readouterr().out
    assert stored.stat().st_mtime > 1_700_000_000


def test_refresh_looks_for_lists_in_each_key(
    config: str, feed: Feed, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    text = Path(config).read_text()
    Path(config).write_text(text.replace("allow =", "deny ="))
    assert main(["refresh", "--config", config]) == 0
    assert capsys.readouterr().out.startswith("office: ")
    Path(config).write_text(text.replace('allow = ["set:office"]\n', ""))
    assert main(["refresh", "--config", config]) == 0
    assert "no published list is in use" in capsys.readouterr().out


def test_diff_keeps_nothing(config: str, feed: Feed, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["refresh", "--config", config]) == 0
    feed.content = json.dumps({"prefixes": [LIST[0], "203.0.113.0/24"]}).encode()
    capsys.readouterr()
    assert main(["diff", "--config", config]) == 1
    first, *rest = capsys.readouterr().out.splitlines()
    assert first.startswith("office: 1 (203.0.113.0/24) added, 1 (2001:db8::/32) removed")
    assert rest == ["+203.0.113.0/24", "-2001:db8::/32"]
    feed.content = json.dumps({"prefixes": LIST}).encode()
    assert main(["diff", "--config", config]) == 0


@pytest.mark.parametrize(("content", "status"), [(b"{", 200), (b'{"prefixes": []}', 200), (b"", 500)])
def test_a_broken_feed_is_told_and_keeps_the_old_copy(
    config: str, feed: Feed, capsys: pytest.CaptureFixture[str], content: bytes, status: int
):
    assert main(["refresh", "--config", config]) == 0
    feed.content, feed.status = content, status
    assert main(["refresh", "--config", config]) == 69
    assert "office: it" in capsys.readouterr().err
    assert main(["show", "office", "--config", config]) == 0
    assert capsys.readouterr().out.split() == LIST


def test_a_list_that_has_truly_shrunk_can_be_accepted(config: str, feed: Feed, capsys: pytest.CaptureFixture[str]):
    feed.content = json.dumps({"prefixes": [f"192.0.2.{n}" for n in range(50)]}).encode()
    assert main(["refresh", "--config", config]) == 0
    feed.content = json.dumps({"prefixes": ["192.0.2.1"]}).encode()
    assert main(["refresh", "--config", config]) == 69
    assert "shrunk from 50 prefixes to 1" in capsys.readouterr().err
    assert main(["refresh", "--config", config, "--accept"]) == 0
    assert "49 (192.0.2.0, 192.0.2.2, 192.0.2.3, …) removed; 1 prefixes" in capsys.readouterr().out


def test_where_nothing_can_be_kept(config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "state").write_text("in the way")
    assert main(["refresh", "--config", config]) == 77
    assert "cannot be kept" in capsys.readouterr().err


def test_a_list_without_a_feed_cannot_be_refreshed(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["refresh", "gitlab", "--state-dir", str(tmp_path)]) == 69
    assert "no feed that a program could fetch" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argv", "why"),
    [
        (["diff"], "name the lists to diff"),
        (["refresh", "github"], "a state directory is needed"),
        (["show", "githbu"], "did you mean 'github'?"),
        (["--what"], "unrecognized arguments"),
    ],
)
def test_bad_words_are_64(argv: list[str], why: str, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as caught:
        main(argv)
    assert caught.value.code == 64
    assert why in capsys.readouterr().err


def test_an_alias_is_the_lists_behind_it(feed: Feed, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    path = tmp_path / "hookward.toml"
    url = f"http://127.0.0.1:{feed.server.server_port}/"
    path.write_text(f'[ip_set.pagerduty_us]\nurl = "{url}"\n[ip_set.pagerduty_eu]\nurl = "{url}"\n')
    feed.content = json.dumps(LIST).encode()
    assert main(["refresh", "pagerduty", "--config", str(path), "--state-dir", str(tmp_path)]) == 0
    assert [line.partition(":")[0] for line in capsys.readouterr().out.splitlines()] == ["pagerduty_us", "pagerduty_eu"]
    assert main(["show", "pagerduty", "--config", str(path), "--state-dir", str(tmp_path)]) == 0


def test_a_damaged_copy_is_mentioned(config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    folder = tmp_path / "state" / "ip-sets"
    folder.mkdir(parents=True)
    (folder / "office.json").write_text("{")
    assert main(["--config", config]) == 0
    assert "office.json is damaged" in capsys.readouterr().err


def test_a_bad_configuration_is_told(tmp_path: Path):
    with pytest.raises(ConfigError):
        main(["--config", str(tmp_path / "none.toml")])
