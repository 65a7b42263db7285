"""Deliveries that are sent again, and kept as tests."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.console.asking import BODY, delivery, token
from tests.whole.conftest import SECRET
from tests.whole.process import Hookward
from tests.whole.recorder import RecordingUpstream
from tests.whole.wire import github, once, request

Start = Callable[..., Hookward]


class TestReplay:
    def test_as_it_came_is_the_same_to_the_byte_and_marked(self, begin: Start, upstream: RecordingUpstream) -> None:
        hookward = begin()
        content = bytes(range(256)) * 8
        once(hookward.address, delivery(content))
        visitor = token(hookward)
        [row] = visitor.get("deliveries")["deliveries"]
        for order in ({}, {"to": "application"}):
            reply = visitor.post(f"deliveries/{row['id']}/replay", order)
            assert (reply.status, reply.json["status"]) == (200, 200)
        first, *again = upstream.wait_complete(3)
        for one in again:
            assert one.sha256 == first.sha256
            assert one.get(b"Webhook-Replay") == row["id"].encode()
            assert one.get(b"X-Hub-Signature-256") == first.get(b"X-Hub-Signature-256")
            assert one.get(b"Webhook-Verified") == first.get(b"Webhook-Verified")
        assert first.get(b"Webhook-Replay") is None
        shown = visitor.get(f"deliveries/{row['id']}")
        assert [one["replay_of"] for one in shown["replays"]] == [row["id"]]
        assert hookward.said("replayed the delivery")

    def test_it_goes_where_the_route_maps_it_and_shows_no_token(
        self, begin: Start, upstream: RecordingUpstream, tmp_path: Path
    ) -> None:
        word = "t0ken-of.24_characters~~"
        (tmp_path / "word").write_text(word)
        (tmp_path / "word").chmod(0o600)
        more = (
            f'[route.chat]\npath = "/chat/{{token}}"\nrewrite = "/in"\n'
            f'token = {{ path = true, secrets = ["file:{tmp_path}/word"] }}\n'
        )
        hookward = begin(more=more)
        once(hookward.address, request("POST", f"/chat/{word}/a?x=1", {}, BODY))
        once(hookward.address, request("POST", f"/chat/{word[:-1]}/a?x=1", {}, BODY))
        visitor = token(hookward)
        wrong, right = visitor.get("deliveries")["deliveries"]
        for order in ({}, {"to": "application"}):
            assert visitor.post(f"deliveries/{right['id']}/replay", order).json["status"] == 200
        assert [one.target for one in upstream.wait_complete(3)] == [b"/in/a?x=1"] * 3
        shown = [visitor.get(f"deliveries/{row['id']}") for row in (right, wrong)]
        assert [one["request"]["target"] for one in shown] == ["/chat/{token}/a?x=1", "/chat/{token}?x=1"]
        assert word[:-1] not in repr(shown) + repr([wrong, right])

    def test_no_client_can_mark_its_own(self, begin: Start, upstream: RecordingUpstream) -> None:
        hookward = begin()
        content = BODY
        fields = github(SECRET, content) | {"Webhook-Replay": "forged"}
        once(hookward.address, request("POST", "/hooks", fields, content))
        [got] = upstream.wait_complete()
        assert got.get(b"Webhook-Replay") is None

    def test_a_refused_one_is_edited_signed_again_and_admitted(self, begin: Start, upstream: RecordingUpstream) -> None:
        hookward = begin()
        once(hookward.address, delivery(key=b"another secret"))
        visitor = token(hookward)
        [row] = visitor.get("deliveries")["deliveries"]
        place = f"deliveries/{row['id']}/replay"
        assert visitor.post(place).json["reason"] == "signature_mismatch"
        assert visitor.post(place, {"sign": "now", "dry_run": True}).json["status"] == 0
        assert upstream.seen == []
        signed = visitor.post(place, {"sign": "now"}).json
        assert (signed["status"], signed["reason"]) == (200, "delivered")
        shown = visitor.get(f"deliveries/{row['id']}")["request"]
        order = {"sign": "now", "edit": {"fields": shown["fields"], "body": '{"edited":true}'}}
        edited = visitor.post(place, order).json
        assert (edited["status"], edited["reason"]) == (200, "delivered")
        assert '+{"edited":true}' in edited["diff"]
        assert "sha256=[masked, 64 bytes]" in edited["diff"]
        assert upstream.wait_complete(2)[-1].content == b'{"edited":true}'

    @pytest.mark.parametrize(
        "order",
        [
            {"sign": "never"},
            {"url": "http://127.0.0.1:1/"},
            {"edit": {"fields": [["X-A", "[masked, 7 bytes]"]]}},
            {"edit": {"fields": [["X-A", "a\r\nB: c"]]}},
            {"edit": {"fields": [["X A", "b"]]}},
            {"edit": {"target": "http://127.0.0.1:1/ x"}},
            {"edit": {"method": "GET /x HTTP/1.1\r\nA: b\r\n\r\nPOST"}},
            {"edit": {"body": "!", "encoding": "base64"}},
            {"edit": []},
        ],
    )
    def test_what_cannot_be_sent_is_said_and_not_sent(
        self, begin: Start, upstream: RecordingUpstream, order: object
    ) -> None:
        hookward = begin()
        once(hookward.address, delivery())
        visitor = token(hookward)
        [row] = visitor.get("deliveries")["deliveries"]
        reply = visitor.post(f"deliveries/{row['id']}/replay", order)
        assert reply.status == 409
        assert reply.json["error"]["mend"]
        assert len(upstream.complete) == 1

    def test_a_duplicate_passes_by_explicit_choice_alone(self, begin: Start, upstream: RecordingUpstream) -> None:
        hookward = begin(route='duplicates = "refuse-delivered"')
        once(hookward.address, delivery())
        visitor = token(hookward)
        [row] = visitor.get("deliveries")["deliveries"]
        place = f"deliveries/{row['id']}/replay"
        assert visitor.post(place).json["reason"] == "duplicate_delivered"
        assert visitor.post(place, {"duplicates": "pass"}).json["reason"] == "delivered"
        assert len(upstream.wait_complete(2)) == 2

    def test_an_application_that_is_away_is_said(self, begin: Start, upstream: RecordingUpstream) -> None:
        hookward = begin()
        once(hookward.address, delivery())
        upstream.close()
        visitor = token(hookward)
        [row] = visitor.get("deliveries")["deliveries"]
        for order in ({}, {"to": "application"}):
            assert visitor.post(f"deliveries/{row['id']}/replay", order).json["reason"] == "upstream_unreachable"

    def test_kept_as_a_test_it_is_one(self, begin: Start, folder: Path, tmp_path: Path) -> None:
        hookward = begin()
        once(hookward.address, delivery())
        visitor = token(hookward)
        [row] = visitor.get("deliveries")["deliveries"]
        kept = visitor.post(f"deliveries/{row['id']}/keep", {"name": "first"}).json
        path = folder / "tests" / "first.http"
        assert kept["file"] == str(path)
        assert path.stat().st_mode & 0o777 == 0o600
        assert visitor.post(f"deliveries/{row['id']}/keep", {"name": "../first"}).status == 409
        config = tmp_path / "hookward.toml"
        config.write_text(config.read_text() + kept["stanza"])
        found = subprocess.run(
            [sys.executable, "-m", "proxy", "check", "-c", config], capture_output=True, text=True, check=False
        )
        assert found.returncode == 0, found.stderr + found.stdout
        config.write_text(config.read_text().replace('expect = "admitted"', 'expect = "token_missing"'))
        command = [sys.executable, "-m", "proxy", "check", "-c", str(config)]
        assert subprocess.run(command, capture_output=True, check=False).returncode == 78
