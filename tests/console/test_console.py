"""The console of a running hookward, as a program uses it: what is kept, and what comes."""

from __future__ import annotations

import base64
import json
import os
import shutil
import threading
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest

import proxy
from proxy.console.capture import MAX_VIEWERS
from proxy.console.console import MAX_CONTENT, MAX_SIGN_IN
from tests.console.asking import ACT, BODY, READ, delivery, token
from tests.whole.conftest import SECRET
from tests.whole.console import Visitor
from tests.whole.process import Hookward
from tests.whole.recorder import RecordingUpstream
from tests.whole.wire import once, request

Start = Callable[..., Hookward]
Events = Generator[dict[str, Any], None, None]


class TestWhatIsKept:
    def test_admitted_and_refused_with_their_evidence(self, begin: Start) -> None:
        hookward = begin()
        assert once(hookward.address, delivery()).status == 200
        assert once(hookward.address, delivery(key=b"another secret")).status == 403
        assert once(hookward.address, request("GET", "/nothing?token=abcdefghijkl")).status == 404
        assert once(hookward.address, b"GET /x HTTP/1.1\r\nbad\n\r\n").status == 400
        visitor = token(hookward)
        rows = visitor.get("deliveries")["deliveries"]
        assert [row["reason"] for row in rows] == [
            *("bad_request", "path_not_matched", "signature_mismatch", "delivered")
        ]
        good = visitor.get(f"deliveries/{rows[3]['id']}")
        assert (good["verdict"], good["status"], good["event"], good["delivery_id"]) == ("admitted", 200, "push", "d-1")
        assert good["request"]["body"]["text"] == BODY.decode()
        assert good["answer"]["by"] == "application"
        assert good["answer"]["body"]["text"] == "ok\n"
        assert good["sentence"].startswith("Admitted by the route github with the secret")
        assert good["agrees"]
        bad = visitor.get(f"deliveries/{rows[2]['id']}")
        assert bad["checks"][-1]["name"] == "proof"
        assert bad["checks"][-1]["passed"] is False
        assert bad["cause"]["word"]
        assert visitor.get(f"deliveries/{rows[1]['id']}")["request"]["target"] == "/nothing?token=[masked, 12 bytes]"
        broken = visitor.get(f"deliveries/{rows[0]['id']}")
        assert broken["request"]["target"] is None
        assert "bad" in broken["request"]["body"]["text"]

    def test_what_its_route_leaves_out(self, begin: Start, upstream: RecordingUpstream) -> None:
        hookward = begin(route='where = { "action" = "closed" }')
        assert once(hookward.address, delivery()).status == 200
        assert upstream.seen == []
        visitor = token(hookward)
        [row] = visitor.get("deliveries?q=reason:filtered")["deliveries"]
        shown = visitor.get(f"deliveries/{row['id']}")
        assert (row["verdict"], row["detail"], shown["agrees"]) == ("admitted", "action", True)
        assert "answered and not passed on" in shown["sentence"]
        assert shown["checks"][-1]["said"].startswith("filtered: action is not what `where` names")

    def test_search_pages_and_mistakes(self, begin: Start) -> None:
        hookward = begin()
        for number in range(5):
            once(hookward.address, delivery(name=f"d-{number}"))
        once(hookward.address, request("POST", "/elsewhere", content=b"x"))
        visitor = token(hookward, READ)
        assert len(visitor.get("deliveries?q=route:github%20needle")["deliveries"]) == 5
        assert visitor.get("deliveries?q=-route:github")["deliveries"][0]["reason"] == "path_not_matched"
        first = visitor.get("deliveries?limit=2&q=event:push")
        second = visitor.get(f"deliveries?limit=3&q=event:push&after={first['next']}")
        assert [row["delivery_id"] for row in first["deliveries"] + second["deliveries"]] == [
            f"d-{number}" for number in (4, 3, 2, 1, 0)
        ]
        assert second["next"] is None
        wrong = visitor.ask("GET", "/api/v1/deliveries?q=route:a%20status:9")
        assert (wrong.status, wrong.json["error"]["column"]) == (400, 9)
        assert visitor.ask("GET", "/api/v1/deliveries?limit=x").status == 400
        assert visitor.ask("GET", "/api/v1/deliveries/none").status == 404

    def test_a_secret_is_found_by_nothing(self, begin: Start, secret_file: Path) -> None:
        """The application echoes what it should not, and a search must not tell what is masked."""
        hookward = begin()
        once(hookward.address, delivery(b'{"echo":"' + SECRET.replace(b'"', b"") + b'"}'))
        visitor = token(hookward, READ)
        [row] = visitor.get("deliveries")["deliveries"]
        shown = visitor.get(f"deliveries/{row['id']}")
        assert "[masked, " in shown["request"]["body"]["text"]
        signature = dict(map(tuple, shown["request"]["fields"]))["X-Hub-Signature-256"]
        assert signature == "sha256=[masked, 64 bytes]"
        assert visitor.get('deliveries?q="Secret%20to"')["deliveries"] == []
        for form in ("curl", "raw", "har"):
            data = base64.b64decode(visitor.get(f"deliveries/{row['id']}/export?as={form}")["base64"])
            assert SECRET not in data
            assert b"[masked, " in data

    def test_large_bodies_are_cut_and_memory_stays_bounded(self, begin: Start) -> None:
        hookward = begin(console='keep_bytes = "1MiB"')
        for number in range(12):
            assert once(hookward.address, delivery(b"x" * 300_000, name=f"d-{number}")).status == 200
        visitor = token(hookward)
        counts = visitor.get("deliveries")["counts"]
        assert counts["bytes"] <= 1 << 20
        assert (counts["seen"], counts["cut"]) == (12, 12)
        [row] = visitor.get("deliveries?q=id:d-11")["deliveries"]
        shown = visitor.get(f"deliveries/{row['id']}")
        assert (shown["whole"], shown["request"]["body"]["cut"], shown["request"]["body"]["size"]) == (
            False,
            True,
            300_000,
        )
        assert visitor.post(f"deliveries/{row['id']}/replay").status == 409

    def test_wait_gives_what_is_there_or_comes(self, begin: Start) -> None:
        hookward = begin()
        visitor = token(hookward)
        assert visitor.ask("GET", "/api/v1/deliveries/wait?q=id:d-7&for=0.05s").status == 408
        found: list[Any] = []
        waiting = threading.Thread(target=lambda: found.append(visitor.get("deliveries/wait?q=id:d-7&for=20s")))
        waiting.start()
        once(hookward.address, delivery(name="d-6"))
        once(hookward.address, delivery(name="d-7"))
        waiting.join()
        assert found[0]["delivery_id"] == "d-7"
        assert visitor.get("deliveries/wait?q=id:d-7")["id"] == found[0]["id"]
        assert visitor.ask("GET", "/api/v1/deliveries/wait?q=id:d-7&new=1&for=50ms").status == 408


class TestStream:
    def events(
        self, visitor: Visitor, target: str = "/api/v1/stream", **fields: str
    ) -> Generator[dict[str, Any], None, None]:
        connection = visitor.connect()
        connection.request("GET", target, headers={**visitor.fields, **fields})
        answer = connection.getresponse()
        assert answer.status == 200
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        event: dict[str, Any] = {}
        while line := answer.readline().decode().rstrip("\n") if answer else "":
            name, _, value = line.partition(": ")
            event[name] = value
            if name == "data":
                yield {**event, "data": json.loads(value)}
                event = {}
                answer.readline()
            elif name == "retry":
                event = {}
                answer.readline()
        connection.close()

    def test_what_comes_is_told_and_what_was_missed_is_caught_up(self, begin: Start) -> None:
        hookward = begin()
        visitor = token(hookward, READ)
        stream = self.events(visitor, "/api/v1/stream?q=event:push")
        assert next(stream)["event"] == "begin"
        once(hookward.address, delivery(name="d-1"))
        first = next(stream)
        assert (first["event"], first["data"]["delivery_id"]) == ("delivery", "d-1")
        stream.close()
        once(hookward.address, delivery(name="d-2"))
        again = self.events(visitor, **{"Last-Event-ID": first["id"]})
        assert next(again)["event"] == "begin"
        assert next(again)["data"]["delivery_id"] == "d-2"
        again.close()

    def test_a_gap_is_said(self, begin: Start) -> None:
        hookward = begin(console="keep = 2")
        visitor = token(hookward, READ)
        stream = self.events(visitor)
        begun = next(stream)
        stream.close()
        for number in range(5):
            once(hookward.address, delivery(name=f"d-{number}"))
        again = self.events(visitor, **{"Last-Event-ID": begun["id"]})
        assert [next(again)["event"] for _ in range(4)] == ["begin", "gap", "delivery", "delivery"]
        again.close()

    def test_one_too_many_is_told(self, begin: Start) -> None:
        visitor = token(begin(), READ)
        streams = [self.events(visitor) for _ in range(MAX_VIEWERS)]
        assert {next(stream)["event"] for stream in streams} == {"begin"}
        for place in ("stream", "deliveries/wait?q=id:d-7"):
            reply = visitor.ask("GET", f"/api/v1/{place}")
            assert (reply.status, reply.json["error"]["what"]) == (503, "too many streams are open already")
        for stream in streams:
            stream.close()

    def test_several_workers_are_one(self, begin: Start, upstream: RecordingUpstream) -> None:
        hookward = begin(top="workers = 2")
        visitor = token(hookward)
        stream = self.events(visitor)
        assert {next(stream)["event"] for _ in range(2)} == {"begin"}
        tags: set[str] = set()
        while len(tags) < 2:
            once(hookward.address, delivery())
            tags.add(next(stream)["data"]["id"].split("-")[1])
        stream.close()
        rows = visitor.get("deliveries")["deliveries"]
        assert {row["id"].split("-")[1] for row in rows} == tags
        for row in rows:
            assert visitor.get(f"deliveries/{row['id']}")["request"]["body"]["text"] == BODY.decode()
            assert visitor.post(f"deliveries/{row['id']}/replay", {"to": "application"}).json["status"] == 200
        assert visitor.get("status")["console"]["workers"] == 2


@pytest.mark.parametrize(
    ("credential", "size", "status"),
    [
        ("", MAX_SIGN_IN, 401),
        ("", MAX_SIGN_IN + 1, 413),
        ("w" * 20, MAX_SIGN_IN + 1, 413),
        (READ, MAX_SIGN_IN + 1, 401),
        (READ, MAX_CONTENT + 1, 413),
    ],
)
def test_a_stranger_may_send_no_more_than_a_token(begin: Start, credential: str, size: int, status: int) -> None:
    connection = token(begin(), credential).connect()
    connection.putrequest("POST", "/api/v1/session")
    if credential:
        connection.putheader("Authorization", f"Bearer {credential}")
    connection.putheader("Content-Length", str(size))
    connection.endheaders(bytes(size) if status == 401 else None)
    assert connection.getresponse().status == status
    connection.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes another user")
def test_it_is_served_by_a_user_that_cannot_read_the_package(
    start: Start, upstream: RecordingUpstream, tmp_path: Path
) -> None:
    """As of an installation in a folder of root's."""
    for name in ("read", "act"):
        (tmp_path / name).write_text({"read": READ, "act": ACT}[name])
        (tmp_path / name).chmod(0o600)
    config = tmp_path / "hookward.toml"
    config.write_text(
        f'listen = "127.0.0.1:0"\nupstream = "{upstream.url}"\nuser = "nobody"\n[route.all]\nopen = true\npath = "/"\n'
        f'[console]\nlisten = "127.0.0.1:0"\nread_token = "file:{tmp_path}/read"\nact_token = "file:{tmp_path}/act"\n'
    )
    package = tmp_path / "package"
    package.mkdir(0o700)
    shutil.copytree(Path(proxy.__file__).parent, package / "proxy")
    hookward = start("-c", config, listeners=2, cwd=package, env={"PYTHONPATH": str(package)})
    assert once(hookward.address, request("POST", "/x", {}, BODY)).status == 200
    visitor = token(hookward)
    [row] = visitor.get("deliveries")["deliveries"]
    for path in ("/", "/routes", "/queue", "/state", "/console.js", "/api/v1/openapi.json", f"/deliveries/{row['id']}"):
        assert visitor.ask("GET", path).status == 200
    assert visitor.get(f"deliveries/{row['id']}/export?as=curl")["text"]
    assert visitor.post(f"deliveries/{row['id']}/replay").json["status"] == 200
    stranger = Visitor(hookward.addresses[1]).ask("GET", "/", Accept="text/html")
    assert (stranger.status, b"This console is closed" in stranger.content) == (401, True)
