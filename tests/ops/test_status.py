"""``/status`` of a real process: the configuration in force, with secrets as names; on TCP and on a unix socket."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from tests.whole.conftest import SECRET, start  # noqa: F401 - the fixture
from tests.whole.process import Hookward

CONFIG = """
listen = ["127.0.0.1:0"]
admin = "{admin}"
upstream = ["http://127.0.0.1:1", {{ url = "http://127.0.0.1:2", drain = true }}]
workers = {workers}
[route.github]
path = "/hooks"
provider = "github"
secrets = [{{ name = "2026-q4", from = "file:secret", not_after = 2031-12-15 }}]
[route.legacy]
path = "/legacy"
token = {{ query = "token", secrets = ["file:secret"] }}
rewrite = "/in"
where = {{ "action" = ["opened", 1] }}
deny = ["192.0.2.1", "192.0.2.3"]
"""


def ask(hookward: Hookward, path: str, **headers: str) -> tuple[int, str, bytes]:
    where = hookward.addresses[-1]
    if isinstance(where, str):
        connection = http.client.HTTPConnection("localhost")
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.connect(where)
    else:
        connection = http.client.HTTPConnection(*where)
    connection.request("GET", path, headers=headers)
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer.status, answer.getheader("Content-Type", ""), content


@pytest.mark.parametrize(("workers", "unix"), [(1, True), (2, False)])
def test_the_whole_document(start: Callable[..., Hookward], tmp_path: Path, workers: int, unix: bool) -> None:  # noqa: F811
    secret = tmp_path / "secret"
    secret.write_bytes(SECRET)
    secret.chmod(0o600)
    config = tmp_path / "hookward.toml"
    admin = f"unix:{tmp_path}/admin.sock" if unix else "127.0.0.1:0"
    config.write_text(CONFIG.format(admin=admin, workers=workers))
    hookward = start("--config", config, secrets=[SECRET], listeners=2)
    status, kind, content = ask(hookward, "/status")
    assert (status, kind) == (200, "application/json")
    assert SECRET not in content
    found = json.loads(content)
    assert found["generation"] == 1
    assert found["configuration"]["workers"] == workers
    github, legacy = found["routes"]
    [secret] = github["secrets"]
    assert secret == {"name": "2026-q4", "not_before": None, "not_after": 1955059200.0, "uses": 0, "last_used": None}
    assert [(one["url"], one["drained"]) for one in github["upstream"]] == [
        ("http://127.0.0.1:1", False),
        ("http://127.0.0.1:2", True),
    ]
    assert legacy["token"]["kind"] == "query"
    assert (github["upstream_path"], github["where"], github["deny"]) == (None, [], 0)
    assert (legacy["upstream_path"], legacy["where"], legacy["deny"]) == ("/in", ["action is 'opened' or 1"], 2)
    assert sum(found["workers"].values()) == workers
    status, kind, content = ask(hookward, "/metrics", Accept="application/openmetrics-text;version=1.0.0")
    assert (status, kind) == (200, "application/openmetrics-text; version=1.0.0; charset=utf-8")
    families = {family.name: family for family in text_string_to_metric_families(content.decode())}
    [sample] = families["hookward_secret_expiry_timestamp_seconds"].samples
    assert (sample.labels, sample.value) == ({"route": "github", "secret": "2026-q4"}, 1955059200.0)
    assert ask(hookward, "/status", Origin="https://evil.example")[::2] == (403, b"origin_refused\n")
