"""Every row of the table of answers that a real socket can reach: status, reason word, the end of the connection,
and above all: nothing at the upstream.

After each refusal the same hookward lets a genuine delivery through. When the upstream has that one, it has everything
that was on its way before, so an empty record is a fact and not a race.
"""

from __future__ import annotations

import base64
import hmac
from collections.abc import Iterator
from time import time

import pytest

from tests.whole.conftest import SECRET
from tests.whole.process import Hookward
from tests.whole.recorder import RecordingUpstream
from tests.whole.wire import Answer, Client, github, once, request

SLACK = b"8f742231b10e8888abcd99yyyzzz85a5"
TOKEN = b"tok-5f1d0c2a9b"
CONFIG = """
listen = ["127.0.0.1:0"]
upstream = "{upstream}"

[limits]
max_body = "64KiB"
max_head = "4KiB"
max_target = "1KiB"
max_fields = 40
head_timeout = "1s"
body_timeout = "1s"

[route.github]
path = "/github"
provider = "github"
secrets = ["file:{folder}/github.secret"]
events = ["push", "ping"]

[route.slack]
path = "/slack"
provider = "slack"
secrets = ["file:{folder}/slack.secret"]

[route.query]
path = "/query"
token = {{ query = "token", secrets = ["file:{folder}/token"] }}

[route.header]
path = "/header"
token = {{ header = "X-Gitlab-Token", secrets = ["file:{folder}/token"] }}

[route.basic]
path = "/basic"
token = {{ basic = true, secrets = ["file:{folder}/basic"] }}

[route.elsewhere]
path = "/elsewhere"
allow = ["192.0.2.0/24"]
token = {{ bearer = true, secrets = ["file:{folder}/token"] }}

[route.open]
path = "/open"
allow = ["127.0.0.0/8"]
"""


@pytest.fixture(scope="module")
def upstream() -> Iterator[RecordingUpstream]:
    with RecordingUpstream() as one:
        yield one


@pytest.fixture(scope="module")
def hookward(upstream: RecordingUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hookward]:
    folder = tmp_path_factory.mktemp("refusals")
    files = {"github.secret": SECRET, "slack.secret": SLACK, "token": TOKEN, "basic": b"user:pass-7731"}
    for name, value in files.items():
        (folder / name).write_bytes(value)
        (folder / name).chmod(0o600)
    path = folder / "hookward.toml"
    path.write_text(CONFIG.format(upstream=upstream.url, folder=folder))
    running = Hookward("--config", str(path), secrets=[SECRET, SLACK, TOKEN, b"pass-7731"])
    yield running
    running.stop()


@pytest.fixture
def nothing_passes(hookward: Hookward, upstream: RecordingUpstream) -> Iterator[None]:
    """Around a test: whatever it sent, the upstream got the genuine delivery that follows and nothing else."""
    upstream.forget()
    yield
    genuine = request("POST", "/github", github(SECRET, b"{}", delivery="after"), b"{}")
    assert once(hookward.address, genuine).status == 200
    upstream.wait_complete()
    assert [one.get(b"X-GitHub-Delivery") for one in upstream.seen] == [b"after"]


def refused(hookward: Hookward, data: bytes, status: int, word: str, method: str = "POST") -> Answer:
    """Send a well-formed request twice on one connection: it is refused twice, each time by itself."""
    with Client(hookward.address) as client:
        answers = [client.ask(data, method=method) for _ in range(2)]
    for answer in answers:
        logged(hookward, answer, status, "" if method == "HEAD" else word)
    return answers[0]


def refused_and_closed(hookward: Hookward, data: bytes, status: int, word: str) -> Answer:
    """Send it with another request right behind: one refusal comes, nothing after it, and the connection ends."""
    follower = request("POST", "/github", github(SECRET, b"{}", delivery="smuggled"), b"{}")
    with Client(hookward.address) as client:
        answer = client.ask(data + follower)
        rest = client.ended()
    assert answer.get(b"Connection") == b"close"
    assert rest == b""
    logged(hookward, answer, status, word)
    return answer


def logged(hookward: Hookward, answer: Answer, status: int, word: str) -> None:
    """The answer and its line in the log say the same."""
    assert (answer.status, answer.word) == (status, word)
    assert answer.get(b"Date")
    [line] = hookward.logged({"http.request.id": (answer.get(b"X-Request-Id") or b"").decode()})
    assert line["webhook.reason"] == (word or "method_not_allowed")
    assert line["http.response.status_code"] == status


def slack(content: bytes, at: float) -> dict[str, str]:
    signature = hmac.new(SLACK, f"v0:{int(at)}:".encode() + content, "sha256").hexdigest()
    return {"X-Slack-Request-Timestamp": str(int(at)), "X-Slack-Signature": f"v0={signature}"}


def basic(credentials: bytes) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(credentials).decode()}


def without(fields: dict[str, str], name: str) -> dict[str, str]:
    return {key: value for key, value in fields.items() if key != name}


BODY = b'{"ref":"refs/heads/main"}'
SIGNED = github(SECRET, BODY)
SIGNATURE = SIGNED["X-Hub-Signature-256"]


@pytest.mark.usefixtures("nothing_passes")
class TestGuards:
    @pytest.mark.parametrize(
        ("fields", "word"),
        [
            (without(SIGNED, "X-Hub-Signature-256"), "signature_missing"),
            (SIGNED | {"X-Hub-Signature-256": ""}, "signature_missing"),
            (SIGNED | {"X-Hub-Signature-256": SIGNATURE.removeprefix("sha256=")}, "signature_malformed"),
            (SIGNED | {"X-Hub-Signature-256": SIGNATURE[:-2]}, "signature_malformed"),
            (SIGNED | {"X-Hub-Signature-256": SIGNATURE.replace("sha256", "sha1")}, "signature_malformed"),
            (SIGNED | {"X-Hub-Signature-256": f"{SIGNATURE}, {SIGNATURE}"}, "signature_malformed"),
            (SIGNED | {"X-Hub-Signature-256": "sha256=" + "0" * 64}, "signature_mismatch"),
            (github(b"another secret", BODY), "signature_mismatch"),
            (github(SECRET, BODY + b" "), "signature_mismatch"),
            (github(SECRET, BODY, event="release"), "event_refused"),
        ],
    )
    def test_signature_and_event(self, hookward: Hookward, fields: dict[str, str], word: str) -> None:
        refused(hookward, request("POST", "/github", fields, BODY), 403, word)

    def test_a_signature_that_comes_twice_is_no_signature(self, hookward: Hookward) -> None:
        twice = [*SIGNED.items(), ("X-Hub-Signature-256", SIGNATURE)]
        with Client(hookward.address) as client:
            answer = client.ask(request("POST", "/github", twice, BODY))
        assert answer.status in {400, 403}

    @pytest.mark.parametrize(
        ("offset", "drop", "word"),
        [
            (-301 - 5, "", "timestamp_too_old"),
            (301 + 5, "", "timestamp_in_future"),
            (0, "X-Slack-Request-Timestamp", "timestamp_missing"),
            (0, "X-Slack-Signature", "signature_missing"),
        ],
    )
    def test_timestamp(self, hookward: Hookward, offset: int, drop: str, word: str) -> None:
        fields = without(slack(BODY, time() + offset), drop)
        refused(hookward, request("POST", "/slack", fields, BODY), 403, word)

    @pytest.mark.parametrize(
        ("target", "fields", "word"),
        [
            ("/query", {}, "token_missing"),
            ("/query?token=", {}, "token_missing"),
            ("/query?token=wrong", {}, "token_mismatch"),
            ("/header", {}, "token_missing"),
            ("/header", {"X-Gitlab-Token": "wrong"}, "token_mismatch"),
        ],
    )
    def test_token(self, hookward: Hookward, target: str, fields: dict[str, str], word: str) -> None:
        refused(hookward, request("POST", target, fields, BODY), 403, word)

    @pytest.mark.parametrize("fields", [{}, basic(b"user:wrong"), {"Authorization": "Basic !"}])
    def test_basic(self, hookward: Hookward, fields: dict[str, str]) -> None:
        answer = refused(hookward, request("POST", "/basic", fields, BODY), 401, "basic_auth_failed")
        assert (answer.get(b"WWW-Authenticate") or b"").startswith(b"Basic ")

    def test_address_of_the_route_comes_before_its_token(self, hookward: Hookward) -> None:
        refused(hookward, request("POST", "/elsewhere", {}, BODY), 403, "address_refused")

    @pytest.mark.parametrize("target", ["/", "/githubevil", "/GitHub", "/git/hub", "/metrics", "/livez", "/readyz"])
    def test_unknown_paths_are_all_the_same(self, hookward: Hookward, target: str) -> None:
        refused(hookward, request("POST", target, SIGNED, BODY), 404, "path_not_matched")

    @pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "PUT", "DELETE", "post", "PURGE"])
    def test_methods(self, hookward: Hookward, method: str) -> None:
        answer = refused(hookward, request(method, "/github", SIGNED), 405, "method_not_allowed", method)
        assert answer.get(b"Allow") == b"POST"

    @pytest.mark.parametrize("method", ["TRACE", "CONNECT"])
    def test_methods_that_are_never_forwarded(self, hookward: Hookward, method: str) -> None:
        with Client(hookward.address) as client:
            answer = client.ask(request(method, "/open", SIGNED))
        assert answer.status in {400, 405}

    def test_an_override_does_not_change_the_method(self, hookward: Hookward) -> None:
        fields = SIGNED | {"X-HTTP-Method-Override": "POST"}
        refused(hookward, request("GET", "/github", fields), 405, "method_not_allowed")


@pytest.mark.usefixtures("nothing_passes")
class TestMessages:
    @pytest.mark.parametrize(
        "head",
        [
            b"POST /github HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"POST /github HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n",
            b"POST /github HTTP/1.1\r\nHost: a\r\nContent-Length: +2\r\n\r\n",
            b"POST /github HTTP/1.1\r\nHost: a\r\nContent-Length : 2\r\n\r\n",
            b"POST /github HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n",
            b"POST /github HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"POST /github HTTP/1.1\r\nHost: a\r\nX-A: 1\r\n folded\r\n\r\n",
            b"POST /github HTTP/1.1\nHost: a\n\n",
            b"POST /github HTTP/1.1\r\nHost: a\r\nX-A: \x00\r\n\r\n",
            b"POST /github HTTP/1.1\r\n\r\n",
            b"POST /github HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
            b"POST /github HTTP/1.1\r\nHost: a/b\r\n\r\n",
            b"POST /github/../open HTTP/1.1\r\nHost: a\r\n\r\n",
            b"POST /github%2f..%2fopen HTTP/1.1\r\nHost: a\r\n\r\n",
            b"POST /github;x HTTP/1.1\r\nHost: a\r\n\r\n",
            b"POST //github HTTP/1.1\r\nHost: a\r\n\r\n",
            b"POST http://b/github HTTP/1.1\r\nHost: a\r\n\r\n",
            b"POST github HTTP/1.1\r\nHost: a\r\n\r\n",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        ],
        ids=range(19),
    )
    def test_bad_request(self, hookward: Hookward, head: bytes) -> None:
        refused_and_closed(hookward, head, 400, "bad_request")

    def test_http_2_is_not_spoken(self, hookward: Hookward) -> None:
        with Client(hookward.address) as client:
            answer = client.ask(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        assert answer.status in {400, 505}

    @pytest.mark.parametrize(
        "content", [b"5\nhello\r\n0\r\n\r\n", b"0x5\r\nhello\r\n0\r\n\r\n", b"5\r\nhello__0\r\n\r\n", b"-1\r\n\r\n"]
    )
    def test_bad_chunks(self, hookward: Hookward, content: bytes) -> None:
        head = request("POST", "/github", github(SECRET, b"hello") | {"Transfer-Encoding": "chunked"})
        refused_and_closed(hookward, head + content, 400, "bad_request")

    def test_length_required(self, hookward: Hookward) -> None:
        with Client(hookward.address) as client:
            answer = client.ask(request("POST", "/github", SIGNED))
        assert (answer.status, answer.word) == (411, "length_required")

    def test_declared_length_is_judged_without_the_body(self, hookward: Hookward) -> None:
        fields = SIGNED | {"Content-Length": str(64 * 1024 + 1), "Expect": "100-continue"}
        answer = refused_and_closed(hookward, request("POST", "/github", fields), 413, "body_too_large")
        assert not answer.interim

    def test_chunks_over_the_limit(self, hookward: Hookward) -> None:
        content = b"x" * (64 * 1024 + 1)
        data = request("POST", "/github", github(SECRET, content), content, chunk_size=8192)
        refused_and_closed(hookward, data, 413, "body_too_large")

    def test_head_too_large(self, hookward: Hookward) -> None:
        refused_and_closed(hookward, request("POST", "/github", {"X-Big": "x" * 5000}, b""), 431, "head_too_large")
        many = {f"X-{number}": "1" for number in range(60)}
        refused_and_closed(hookward, request("POST", "/github", many, b""), 431, "head_too_large")

    def test_target_too_long(self, hookward: Hookward) -> None:
        refused_and_closed(hookward, request("POST", "/github?" + "x" * 1200, {}, b""), 414, "target_too_long")

    def test_expectation_failed(self, hookward: Hookward) -> None:
        refused_and_closed(
            hookward, request("POST", "/github", SIGNED | {"Expect": "gold"}, BODY), 417, "expectation_failed"
        )

    def test_coding_unsupported(self, hookward: Hookward) -> None:
        head = request("POST", "/github", SIGNED | {"Transfer-Encoding": "gzip, chunked"})
        refused_and_closed(hookward, head, 501, "coding_unsupported")

    def test_no_continue_for_a_refused_head(self, hookward: Hookward) -> None:
        fields = without(SIGNED, "X-Hub-Signature-256") | {"Expect": "100-continue", "Content-Length": "2"}
        with Client(hookward.address) as client:
            answer = client.ask(request("POST", "/github", fields))
        assert (answer.status, answer.interim) == (403, [])


@pytest.mark.usefixtures("nothing_passes")
class TestTime:
    def test_slow_head(self, hookward: Hookward) -> None:
        with Client(hookward.address) as client:
            answer = client.ask(b"POST /github HTTP/1.1\r\nHost: a\r\nX-")
            assert (answer.status, answer.word) == (408, "head_timeout")
            assert client.ended() == b""

    def test_silence_is_ended_silently(self, hookward: Hookward) -> None:
        with Client(hookward.address) as client:
            assert client.ended() == b""

    def test_slow_body(self, hookward: Hookward) -> None:
        with Client(hookward.address) as client:
            data = request("POST", "/github", SIGNED, BODY)
            answer = client.ask(data[:-1])
            assert (answer.status, answer.word) == (408, "body_timeout")
            assert client.ended() == b""

    def test_half_a_body_then_gone(self, hookward: Hookward) -> None:
        with Client(hookward.address) as client:
            client.send(request("POST", "/github", github(SECRET, BODY, delivery="gone"), BODY)[:-1])
        [line] = hookward.logged({"webhook.delivery_id": "gone"})
        assert line["webhook.reason"] in {"sender_gone", "bad_request"}
        assert line["webhook.ended_by"] == "sender"


def test_an_answer_says_nothing_of_the_request(hookward: Hookward) -> None:
    answer = once(hookward.address, request("POST", "/<script>x=%41", {"X-Evil": "<script>"}, BODY))
    assert b"script" not in answer.head + answer.content
    assert len(answer.content.split()) == 2


def test_the_open_route_delivers(hookward: Hookward, upstream: RecordingUpstream) -> None:
    assert once(hookward.address, request("POST", "/open/sub", {}, BODY)).status == 200
    assert upstream.wait_complete()[-1].target == b"/open/sub"
