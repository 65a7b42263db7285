"""One hookward with a route for each kind of guard, and the two upstreams behind it: what every test of a threat needs.

    stage.refuses(data, 400, "bad_request", "cl_te")

sends the bytes with a genuine delivery right behind them, and holds the refusal to all that is promised of one: the
status and the word, ``Connection: close``, nothing of the request in the answer, the line in the log with its detail,
the delivery behind it unread, the connection ended. Then a delivery over another connection arrives, and it is the
only thing that the upstream has got: when it is there, everything that was on its way before is there too.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.whole.process import Hookward
from tests.whole.recorder import Received, RecordingUpstream
from tests.whole.scripted import ScriptedUpstream
from tests.whole.wire import Answer, Client, github, once, request

KEY = b"It's a Secret to Everybody"
SLACK_KEY = b"8f742231b10e8888abcd99yyyzzz85a5"
TOKEN = b"tok-5f1d0c2a9b"
#: Stands in bodies that nobody may print.
CONFIDENTIAL = b"c0nfidential-4711"
MAX_BODY = 256 * 1024
WINDOW = 16 * 1024
MAX_HEAD = 4096
MAX_TARGET = 1024
MAX_FIELDS = 40
UPSTREAM_TIMEOUT_S = 1.0
TRUSTED = "127.0.0.9"
CONFIG = """
listen = ["127.0.0.1:0"]
upstream = "{upstream}"
trusted_proxies = ["127.0.0.9"]

[limits]
max_body = "256KiB"
max_head = "4KiB"
max_target = "1KiB"
max_fields = 40
hold_window = "16KiB"
head_timeout = "1s"
upstream_timeout = "1s"

[route.github]
path = "/github"
methods = ["POST"]
provider = "github"
secrets = ["file:{folder}/github.secret"]

[route.hold]
path = "/hold"
provider = "github"
secrets = ["file:{folder}/github.secret"]
body = "hold"

[route.slack]
path = "/slack"
provider = "slack"
secrets = ["file:{folder}/slack.secret"]

[route.query]
path = "/query"
token = {{ query = "token", secrets = ["file:{folder}/token"] }}

[route.open]
path = "/open"
methods = ["GET", "HEAD", "POST", "PUT", "OPTIONS"]
allow = ["127.0.0.0/8"]

[route.scripted]
path = "/scripted"
methods = ["GET", "HEAD", "POST"]
allow = ["127.0.0.0/8"]
upstream = "{scripted}"

[route.patient]
path = "/patient"
provider = "github"
secrets = ["file:{folder}/github.secret"]
hold = "5s"
upstream = "{scripted}"

[route.judged]
path = "/judged"
provider = "github"
secrets = ["file:{folder}/github.secret"]
upstream = "{scripted}"
"""


def delivery(content: bytes = b"{}", target: str = "/github", name: str = "d-1", **fields: str) -> bytes:
    """A genuine delivery; ``X_Name`` is the field ``X-Name``."""
    more = {field.replace("_", "-"): value for field, value in fields.items()}
    return request("POST", target, github(KEY, content, delivery=name) | more, content)


def head(*lines: bytes, content: bytes = b"{}", target: bytes = b"/github", version: bytes = b"1.1") -> bytes:
    """A head whose signature is right for ``content``, with further lines as given and no framing of its own."""
    first = [b"POST %b HTTP/%b" % (target, version), b"Host: hooks.example.com"]
    signed = [f"{name}: {value}".encode() for name, value in github(KEY, content).items()]
    return b"\r\n".join([*first, *signed, *lines]) + b"\r\n\r\n"


class Stage:
    """What stands while the tests run."""

    def __init__(self, hookward: Hookward, upstream: RecordingUpstream, scripted: ScriptedUpstream) -> None:
        self.hookward = hookward
        self.upstream = upstream
        self.scripted = scripted

    def client(self, source: str | None = None) -> Client:
        return Client(self.hookward.address, source=source)

    def ask(self, data: bytes, method: str = "POST") -> Answer:
        """One request on a connection of its own."""
        return once(self.hookward.address, data, method=method)

    def line_of(self, answer: Answer) -> dict[str, Any]:
        """The line in the log with the answer's request id."""
        return self.hookward.line_of(answer.get(b"X-Request-Id"))

    def passes(self, data: bytes, status: int = 200) -> Received:
        """The request is admitted; what the upstream got, which is that one request and no more."""
        self.upstream.forget()
        answer = self.ask(data)
        assert (answer.status, answer.word) == (status, "ok")
        self.fence()
        got, _ = self.upstream.seen
        assert got.complete
        return got

    def fence(self) -> None:
        """A genuine delivery over a new connection: behind it, nothing is on its way any more."""
        assert self.ask(delivery(name="fence")).status == 200
        assert self.upstream.seen[-1].get(b"X-GitHub-Delivery") == b"fence"

    @contextmanager
    def nothing_arrives(self) -> Iterator[None]:
        """Whatever is sent in the block, the upstream gets nothing of it, not even a connection's first byte."""
        self.upstream.renew()  # of what an earlier test broke off, too, nothing is on its way
        yield
        self.fence()
        assert [one.get(b"X-GitHub-Delivery") for one in self.upstream.seen] == [b"fence"]

    def refuses(self, data: bytes, status: int, word: str, detail: str | None = None) -> Answer:
        """The bytes are refused and the connection is over: see the top of this file."""
        with self.nothing_arrives(), self.client() as client:
            answer = client.ask(data + delivery(name="behind"))
            assert client.ended() == b""
        self.holds(answer, status, word, detail)
        assert answer.get(b"Connection") == b"close"
        return answer

    def refuses_each(self, data: bytes, status: int, word: str) -> Answer:
        """A well-formed request is refused, by itself: what comes behind it is judged by itself as well."""
        self.upstream.forget()
        with self.client() as client:
            answer = client.ask(data + delivery(name="behind"))
            behind = client.answer()
        self.holds(answer, status, word)
        assert behind.status == 200
        assert [one.get(b"X-GitHub-Delivery") for one in self.upstream.seen] == [b"behind"]
        return answer

    def holds(
        self, answer: Answer, status: int, word: str, detail: str | None = None, *, verdict: str = "refused"
    ) -> None:
        """The answer is one of ours, says what it should, and no more; the log says the same. ``verdict`` is
        "admitted" where the head alone decides, and the content was bad all the same.
        """
        request_id = answer.get(b"X-Request-Id") or b"-"
        assert (answer.status, answer.content) == (status, b"%b %b\n" % (word.encode(), request_id))
        assert answer.get(b"Content-Type") == b"text/plain; charset=utf-8"
        assert answer.get(b"Date")
        assert not answer.interim
        line = self.line_of(answer)
        assert (line["webhook.reason"], line["http.response.status_code"]) == (word, status)
        assert line["webhook.verdict"] == verdict
        if detail is not None:
            assert line.get("webhook.detail", "") == detail


@contextmanager
def staged(folder: Path) -> Iterator[Stage]:
    """Raise the curtain; when it falls, hookward is stopped and what it printed is looked through."""
    for name, value in {"github.secret": KEY, "slack.secret": SLACK_KEY, "token": TOKEN}.items():
        (folder / name).write_bytes(value)
        (folder / name).chmod(0o600)
    with RecordingUpstream() as upstream, ScriptedUpstream() as scripted:
        path = folder / "hookward.toml"
        path.write_text(CONFIG.format(upstream=upstream.url, scripted=scripted.url, folder=folder))
        hookward = Hookward("--config", str(path), secrets=[KEY, SLACK_KEY, TOKEN, CONFIDENTIAL])
        yield Stage(hookward, upstream, scripted)
        hookward.stop()
