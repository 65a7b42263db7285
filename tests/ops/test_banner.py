"""What is said at start."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.config.host import Paint
from proxy.config.load import load
from proxy.config.settings import Loaded
from proxy.ops import banner

FLAGS = ["--listen", "127.0.0.1:0", "--upstream", "127.0.0.1:8000"]


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "a.secret"
    path.write_text("hush-hush-hush-hush")
    path.chmod(0o600)
    return path


def said(loaded: Loaded, *, colour: bool = False) -> str:
    return "\n".join(banner.policy_lines(loaded.policy, loaded.settings, Paint(colour=colour)))


def test_local_only_names_the_three_flags():
    text = said(load(FLAGS, {}))
    assert "LOCAL ONLY" in text
    for flag in ("--path", "--provider", "--secret-file", "--allow"):
        assert flag in text
    assert "http://127.0.0.1:8000" in text
    assert "bare TCP" in text, "what cannot be told apart is said"


def test_open_says_so_loudly():
    text = said(load([*FLAGS, "--open"], {}), colour=True)
    assert "\033[31;1mOPEN TO EVERYBODY (--open)" in text
    assert "LOCAL ONLY" not in text


def test_each_route_and_what_protects_it(secret: Path, tmp_path: Path):
    path = tmp_path / "hookward.toml"
    path.write_text(
        f"""
        listen = ["127.0.0.1:0"]
        upstream = "http://127.0.0.1:8000"
        [route.github]
        path = "/git"
        provider = "github"
        secrets = ["file:{secret}", "file:{secret}"]
        allow = ["10.0.0.0/8", "unix:"]
        events = ["push", "ping"]
        [route.query]
        path = "/query"
        exact = true
        mode = "observe"
        token = {{ query = "key", secrets = ["file:{secret}"] }}
        [route.header]
        path = "/header"
        token = {{ header = "X-Key", secrets = ["file:{secret}"] }}
        [route.bearer]
        path = "/bearer"
        token = {{ bearer = true, secrets = ["file:{secret}"] }}
        [route.free]
        path = "/free"
        open = true
        [route.mapped]
        path = "/mapped/{{token}}"
        rewrite = "/in"
        token = {{ path = true, secrets = ["file:{secret}"] }}
        content_types = ["application/json"]
        where = {{ "action" = "opened" }}
        deny = ["192.0.2.1"]
        [tcp.ssh]
        listen = "127.0.0.1:0"
        upstream = "127.0.0.1:22"
        allow = ["127.0.0.1"]
        """
    )
    text = said(load(["--config", str(path)], {}))
    lines = {line.split(":")[0]: line for line in text.splitlines()}
    github = "POST /git to http://127.0.0.1:8000: github signature (2 secrets)"
    assert github in lines["route github"]
    assert lines["route github"].endswith("only 10.0.0.0/8 and peers on unix sockets, events ping, push")
    assert "POST /query (exactly)" in lines["route query"]
    assert "token in query parameter key (1 secret) (ONLY OBSERVED" in lines["route query"]
    assert "token in header x-key (1 secret)" in lines["route header"].lower()
    assert "token in Authorization: Bearer" in lines["route bearer"]
    assert "NOTHING PROTECTS IT" in lines["route free"]
    assert (
        "POST /mapped/{token} to http://127.0.0.1:8000 as /in: token in path behind /mapped/" in lines["route mapped"]
    )
    assert lines["route mapped"].endswith("every address, but not 192.0.2.1, application/json, where action")
    assert lines["tcp ssh"] == "tcp ssh: 127.0.0.1:0 to 127.0.0.1:22; only 127.0.0.1 may connect"
    assert "everything else is answered 404; every address may connect" in text
    assert any(line.startswith("warning") for line in lines)
    assert "hush" not in text


def test_where_every_route_has_a_list_only_their_addresses_may_connect(secret: Path):
    flags = [*FLAGS, "--path", "/x", "--provider", "github", "--secret-file", str(secret), "--allow", "10.0.0.0/8"]
    assert "only 10.0.0.0/8 may connect" in said(load(flags, {}))


def test_ready_lines_can_be_waited_for():
    lines = banner.ready_lines([("", "127.0.0.1:1"), ("ssh", "127.0.0.1:2"), ("admin", "127.0.0.1:3")], secure=True)
    assert lines == [
        "listening on 127.0.0.1:1 (TLS)",
        "listening on 127.0.0.1:2 (tcp ssh)",
        "listening on 127.0.0.1:3 (health and metrics)",
    ]
    assert banner.ready_lines([("", "unix:/x")], secure=False) == ["listening on unix:/x (plain HTTP)"]


def test_headline():
    assert banner.headline("1.2", "3.11.7", "uvloop", 42) == "hookward 1.2 (Python 3.11.7, uvloop, pid 42)"
