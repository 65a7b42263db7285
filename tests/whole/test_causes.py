"""Why a delivery was refused stands in its own line, with the mend: for log systems, which do not see the journal."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.whole.conftest import SECRET
from tests.whole.process import Hookward
from tests.whole.recorder import RecordingUpstream
from tests.whole.servers import nginx
from tests.whole.wire import Client, github, once, request

BODY = b'{"zen":"Design for failure."}'
GITHUB = '[route.github]\npath = "/hooks"\nprovider = "github"\nsecrets = ["file:{secret}"]\n'
LEGACY = '[route.legacy]\npath = "/hooks"\ntoken = {{ query = "token", secrets = ["file:{secret}"] }}\n'


@pytest.fixture
def begin(
    configured: Callable[..., Hookward], upstream: RecordingUpstream, secret_file: Path
) -> Callable[..., Hookward]:
    def start(text: str, *flags: str, listeners: int = 1) -> Hookward:
        text = f'upstream = "{upstream.url}"\n{text.format(secret=secret_file)}'
        return configured(text, "--log-format", "json", *flags, listeners=listeners, secrets=[SECRET])

    return start


def test_the_line_of_a_refusal_has_its_cause_and_its_mend(begin: Callable[..., Hookward]) -> None:
    hookward = begin(GITHUB)
    for secret, cause, mend in (
        (SECRET + b"\n", "secret_blank_there", "Enter it at the provider again"),
        (b"another", "unknown", "Most likely the two sides have different secrets"),
    ):
        answer = once(hookward.address, request("POST", "/hooks", github(secret, BODY), BODY))
        line = hookward.line_of(answer.get(b"x-request-id"))
        assert (line["webhook.reason"], line["webhook.cause"]) == ("signature_mismatch", cause)
        assert line["webhook.mend"].startswith(mend)
        assert line["webhook.why"].endswith(".")
        assert hookward.said(f"why {cause}: {line['webhook.why']}")
    assert once(hookward.address, request("POST", "/hooks", github(SECRET, BODY), BODY)).status == 200
    [line] = hookward.logged({"webhook.reason": "delivered"})
    assert "webhook.cause" not in line


def test_of_two_routes_on_one_path_the_one_whose_evidence_came_is_told(begin: Callable[..., Hookward]) -> None:
    for text in (GITHUB + LEGACY, LEGACY + GITHUB):
        hookward = begin(text)
        answer = once(hookward.address, request("POST", "/hooks?token=wrong", {}, BODY))
        line = hookward.line_of(answer.get(b"x-request-id"))
        assert (line["webhook.reason"], line["http.route"]) == ("token_mismatch", "legacy")
        assert "by_hand" not in line["webhook.cause"]
        answer = once(hookward.address, request("POST", "/hooks", github(b"wrong", BODY), BODY))
        line = hookward.line_of(answer.get(b"x-request-id"))
        assert (line["webhook.reason"], line["http.route"]) == ("signature_mismatch", "github")


def test_what_the_rate_limit_withholds_is_counted_and_said(begin: Callable[..., Hookward]) -> None:
    hookward = begin(GITHUB, "--admin", "127.0.0.1:0", listeners=2)
    for _ in range(30):
        assert once(hookward.address, request("POST", "/hooks", github(b"wrong", BODY), BODY)).status == 403
    lines = hookward.logged({"webhook.reason": "signature_mismatch"}, 30)
    assert hookward.said("why: route github refuses more than causes are looked for")
    metrics = once(hookward.addresses[1], request("GET", "/metrics", host="localhost")).content.decode()
    [counted] = [line for line in metrics.splitlines() if line.startswith("hookward_diagnoses_withheld_total{")]
    withheld = sum("webhook.cause" not in line for line in lines)
    assert float(counted.rpartition(" ")[2]) == withheld >= 20


def test_no_line_is_lost_at_the_end(begin: Callable[..., Hookward]) -> None:
    hookward = begin(GITHUB)
    for _ in range(5):
        once(hookward.address, request("POST", "/hooks", github(b"wrong", BODY * 4000), BODY * 4000))
    assert hookward.stop() == 0
    assert len([line for line in hookward.log() if line["webhook.reason"] == "signature_mismatch"]) == 5


@pytest.mark.parametrize(
    ("host", "fields", "word"),
    [
        ("hooks.example.com", {}, "public_host"),
        ("localhost", {"X-Forwarded-For": "192.0.2.7"}, "forwarding_field"),
        ("localhost", {"Origin": "https://evil.example"}, "foreign_origin"),
    ],
)
def test_local_only_mode_says_why_and_what_mends_it(
    begin: Callable[..., Hookward], upstream: RecordingUpstream, host: str, fields: dict[str, str], word: str
) -> None:
    hookward = begin("")
    answer = once(hookward.address, request("POST", "/", fields, BODY, host=host))
    assert answer.status == 403
    line = hookward.line_of(answer.get(b"x-request-id"))
    assert (line["webhook.reason"], line["webhook.detail"], line["webhook.cause"]) == ("address_refused", word, word)
    assert "only this host may pass" in line["webhook.why"]
    assert "--path, --provider, --secret-file" in line["webhook.mend"]
    assert hookward.said("nothing is configured, so only this host may pass, and ")
    assert upstream.connections == 0


def test_a_proxy_that_is_not_trusted_is_said_to_be_that(begin: Callable[..., Hookward], tmp_path: Path) -> None:
    """Real nginx in front, as one writes it first: the field is there, and `trusted_proxies` is forgotten."""
    hookward = begin(GITHUB + 'allow = ["127.0.0.7"]\n[route.open]\npath = "/open"\nopen = true\n')
    location = (
        f"location / {{ proxy_pass http://127.0.0.1:{hookward.port}; proxy_http_version 1.1; "
        "proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; }"
    )
    with nginx(tmp_path, location) as port, Client(("127.0.0.1", port), source="127.0.0.7") as client:
        assert client.ask(request("POST", "/hooks", github(SECRET, BODY), BODY)).status == 403
    [line] = hookward.logged({"webhook.reason": "address_refused"})
    assert (line["client.address"], line["webhook.cause"]) == ("127.0.0.1", "untrusted_proxy")
    assert line["webhook.mend"].startswith("Name it there if it is a proxy")
    assert hookward.said("they are not read, for the address is not in trusted_proxies (from 127.0.0.1)")
