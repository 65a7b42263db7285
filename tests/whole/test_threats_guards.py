"""Threats to who is let in: routes above and beside each other, and routes that only observe."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.whole.process import Hookward
from tests.whole.recorder import RecordingUpstream
from tests.whole.wire import Client, github, once, request, turned_away

TENANTS = {name: f"the secret of tenant {name}".encode() for name in ("a", "b")}
CONFIG = """
listen = ["127.0.0.1:0"]
upstream = "{upstream}"

[route.root]
path = "/"
open = true
mode = "observe"

[route.above]
path = "/hooks"
token = {{ query = "token", secrets = ["file:{folder}/token"] }}

[route.tenant-a]
path = "/hooks/a"
provider = "github"
secrets = ["file:{folder}/a"]

[route.tenant-b]
path = "/hooks/b"
provider = "github"
secrets = ["file:{folder}/b"]

[route.gitlab]
path = "/both"
provider = "gitlab"
secrets = ["file:{folder}/token"]

[route.github]
path = "/both"
provider = "github"
secrets = ["file:{folder}/a"]
"""


@pytest.fixture(scope="module")
def nested(
    start_once: Callable[..., Hookward], lasting_upstream: RecordingUpstream, tmp_path_factory: pytest.TempPathFactory
) -> Hookward:
    folder = tmp_path_factory.mktemp("nested")
    for name, value in {"token": b"a token of 23 characters", **TENANTS}.items():
        path = folder / name
        path.write_bytes(value)
        path.chmod(0o600)
    config = folder / "hookward.toml"
    config.write_text(CONFIG.format(upstream=lasting_upstream.url, folder=folder))
    return start_once("--config", config)


def refused(hookward: Hookward, upstream: RecordingUpstream, data: bytes) -> tuple[str, str]:
    """The route that refused, and the word; nothing has reached the application."""
    upstream.renew()
    answer = once(hookward.address, data)
    line = hookward.line_of(answer.get(b"X-Request-Id"))
    # Had anything been on its way, it would be there before what comes behind it.
    assert once(hookward.address, request(target="/fence", content=b"")).status == 200
    assert [one.target for one in upstream.complete] == [b"/fence"]
    assert answer.word == line["webhook.reason"]
    return line["http.route"], answer.word


@pytest.mark.parametrize("target", ["/hooks/a", "/hooks/a/", "/hooks/a/below", "/hooks/a?token=a%20token"])
def test_g1_leaving_the_signature_out_leads_to_no_route_above(
    nested: Hookward, lasting_upstream: RecordingUpstream, target: str
) -> None:
    data = request(target=target, content=b"{}")
    assert refused(nested, lasting_upstream, data) == ("tenant-a", "signature_missing")


def test_g1_a_route_above_that_only_observes_opens_nothing_below(
    nested: Hookward, lasting_upstream: RecordingUpstream
) -> None:
    forged = github(b"a guess", b"{}")
    assert refused(nested, lasting_upstream, request(target="/hooks/a", fields=forged, content=b"{}")) == (
        "tenant-a",
        "signature_mismatch",
    )
    assert refused(nested, lasting_upstream, request(target="/hooks/c", content=b"{}")) == ("above", "token_missing")


@pytest.mark.parametrize(("signer", "path"), [("a", "b"), ("b", "a")])
def test_g1_the_signature_of_one_tenant_opens_no_path_of_another(
    nested: Hookward, lasting_upstream: RecordingUpstream, signer: str, path: str
) -> None:
    data = request(target=f"/hooks/{path}", fields=github(TENANTS[signer], b"{}"), content=b"{}")
    assert refused(nested, lasting_upstream, data) == (f"tenant-{path}", "signature_mismatch")


def test_g1_the_token_of_a_route_above_opens_no_route_below(
    nested: Hookward, lasting_upstream: RecordingUpstream
) -> None:
    token = "token=a%20token%20of%2023%20characters"
    assert once(nested.address, request(target=f"/hooks?{token}", content=b"{}")).status == 200
    data = request(target=f"/hooks/a?{token}", content=b"{}")
    assert refused(nested, lasting_upstream, data) == ("tenant-a", "signature_missing")


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"X-Gitlab-Token": "a guess"}, ("gitlab", "token_mismatch")),
        ({"X-Hub-Signature-256": "sha256=00"}, ("github", "signature_malformed")),
        (github(b"a guess", b"{}"), ("github", "signature_mismatch")),
        ({}, ("github", "signature_missing")),
    ],
    ids=["token", "malformed", "signature", "none"],
)
def test_g1_of_two_routes_on_a_path_the_one_whose_evidence_came_is_told(
    nested: Hookward, lasting_upstream: RecordingUpstream, fields: dict[str, str], told: tuple[str, str]
) -> None:
    assert refused(nested, lasting_upstream, request(target="/both", fields=fields, content=b"{}")) == told


OBSERVED = """
upstream = "{upstream}"
trusted_proxies = ["127.0.0.9"]

[route.observed]
path = "/observed"
allow = ["127.0.0.2", "192.0.2.0/24"]
provider = "github"
secrets = ["file:{secret}"]
mode = "observe"
"""
BESIDE = """
[route.beside]
path = "/beside"
open = true
"""


def test_g2_an_observing_route_keeps_its_list_at_accept(
    configured: Callable[..., Hookward], upstream: RecordingUpstream, secret_file: Path
) -> None:
    hookward = configured(OBSERVED.format(upstream=upstream.url, secret=secret_file))
    unsigned = request(target="/observed", content=b"{}")
    assert turned_away(hookward.address, unsigned, source="127.0.0.3") == "reset"
    with Client(hookward.address, source="127.0.0.2") as listed:
        assert listed.ask(unsigned).status == 200
    assert [one.target for one in upstream.wait_complete()] == [b"/observed"]
    assert hookward.logged({"webhook.observed_reason": "signature_missing"})


@pytest.mark.parametrize("fields", [{}, github(b"a guess", b"{}")], ids=["unsigned", "forged"])
def test_g2_an_observing_route_keeps_its_list_where_others_may_connect(
    configured: Callable[..., Hookward], upstream: RecordingUpstream, secret_file: Path, fields: dict[str, str]
) -> None:
    hookward = configured(OBSERVED.format(upstream=upstream.url, secret=secret_file) + BESIDE)
    for source, named in (("127.0.0.3", {}), ("127.0.0.9", {"X-Forwarded-For": "198.51.100.7"})):
        with Client(hookward.address, source=source) as stranger:
            answer = stranger.ask(request(target="/observed", fields=fields | named, content=b"{}"))
            assert (answer.status, answer.word) == (403, "address_refused")
    with Client(hookward.address, source="127.0.0.9") as proxy:
        listed = fields | {"X-Forwarded-For": "192.0.2.7"}
        assert proxy.ask(request(target="/observed", fields=listed, content=b"{}")).status == 200
    assert len(upstream.wait_complete()) == 1
    assert hookward.logged({"webhook.reason": "address_refused", "webhook.verdict": "refused"}, 2)
