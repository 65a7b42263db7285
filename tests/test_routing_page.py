"""The example of the page on routes: each row of its table is decided as the page says."""

from __future__ import annotations

import hashlib
import hmac
import re

import pytest

from proxy.config.load import load
from proxy.core.addresses import Peer
from proxy.core.exchange import Admit, decide
from proxy.core.policy import Policy
from proxy.core.request_head import HeadLimits, read_request_head
from tests.pages import ROOT, block

BODY = b'{"zen": "Keep it logically awesome."}'
TOKEN = "a-token_of-the-documents"
SECRETS = {"github": b"the secret of github, which is long", "staging": b"the secret of staging, which is long"}
LIMITS = HeadLimits(max_head=8192, max_target=4096, max_fields=50)
ROW = re.compile(r"^\| `([A-Z]+) (/\S*)` \| (\S+) \| ([^|]+) \| (\S+) \| (\w+) \| (\d): ", re.MULTILINE)
ROWS = [found.groups() for found in ROW.finditer((ROOT / "docs" / "routing.md").read_text())]


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Policy:
    folder = tmp_path_factory.mktemp("etc")
    for name, secret in SECRETS.items():
        (folder / f"{name}.secret").write_bytes(secret)
    (folder / "chat.token").write_text(TOKEN)
    (folder / "hookward.toml").write_text(block("routing.md", "toml", "decided").replace("/etc/hookward", str(folder)))
    return load(["--config", str(folder / "hookward.toml")], {}).policy


def carried(what: str) -> dict[str, str]:
    if what == "nothing":
        return {}
    if what == "token":
        return {"X-Token": TOKEN}
    secret = SECRETS[what.removeprefix("signature of ")]
    return {"X-Hub-Signature-256": "sha256=" + hmac.new(secret, BODY, hashlib.sha256).hexdigest()}


def test_the_table_has_every_rule() -> None:
    assert ({row[-1] for row in ROWS}, len(ROWS)) == ({"1", "2", "3", "4", "5"}, 13)


@pytest.mark.parametrize(("method", "path", "address", "what", "route", "outcome", "rule"), ROWS)
def test_each_row_is_decided_so(
    policy: Policy, method: str, path: str, address: str, what: str, route: str, outcome: str, rule: str
) -> None:
    del rule
    body = BODY if method == "POST" else b""
    fields = {"Host": "localhost", **carried(what), **({"Content-Length": str(len(body))} if body else {})}
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    head = read_request_head(f"{method} {path} HTTP/1.1\r\n{lines}\r\n".encode(), LIMITS)
    assert head is not None
    answer = decide(head[0], Peer.of(address), policy, policy.table, 0.0, trusted=False)
    taken = "-" if answer.route is None else answer.route.name
    if isinstance(answer, Admit):
        assert (taken, verdict(answer, body)) == (route, outcome)
    else:
        assert (taken, answer.reason.word) == (route, outcome)


def verdict(admit: Admit, body: bytes) -> str:
    if admit.verification is None:
        return "admitted"
    admit.verification.update(body)
    found = admit.verification.finish()
    return "admitted" if isinstance(found, str) else found.word
