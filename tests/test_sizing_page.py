"""The example of the page on sizes: its configuration loads, and its sums are what the limits come to."""

from __future__ import annotations

import re
from pathlib import Path

import trustme

from proxy.config.load import load
from proxy.ops.process import needed_descriptors
from tests.pages import ROOT, block

PAGE = " ".join((ROOT / "docs" / "sizing.md").read_text().split())
KIB, MIB = 1024, 1024 * 1024


def said(pattern: str) -> int:
    [found] = re.findall(pattern, PAGE)
    return int(found)


def test_the_sums_are_those_of_the_limits(tmp_path: Path) -> None:
    issued = trustme.CA().issue_cert("hooks.example.com")
    (tmp_path / "fullchain.pem").write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    issued.private_key_pem.write_to_path(str(tmp_path / "key.pem"))
    (tmp_path / "github.secret").write_text("a secret of the documents")
    (tmp_path / "chat.token").write_text("a-token_of-the-documents")
    path = tmp_path / "hookward.toml"
    path.write_text(block("sizing.md", "toml", "sized").replace("/etc/hookward", str(tmp_path)))
    policy = load(["--config", str(path)], {}).policy
    limits = policy.server
    descriptors = needed_descriptors(limits.max_connections, limits.max_exchanges)
    assert descriptors == said(r"need at most ([0-9]+)\.")
    head = max(policy.limits.max_head, 16 * KIB) + 10 * KIB
    parts = [limits.max_connections * head, limits.max_exchanges * 128 * KIB, limits.buffer_budget, 40 * MIB]
    assert round(1.25 * sum(parts) / MIB) == said(r"40 MiB\) = ([0-9]+) MiB")


def test_the_descriptors_of_the_defaults(tmp_path: Path) -> None:
    limits = load(["--listen", "127.0.0.1:0", "--upstream", "127.0.0.1:1"], {}).policy.server
    assert needed_descriptors(limits.max_connections, limits.max_exchanges) == said(r"with the defaults ([0-9]+)\.")
