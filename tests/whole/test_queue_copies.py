"""Copies of deliveries, over real processes: beside the sender's answer, with filters and secrets of their own."""

from __future__ import annotations

import hmac
import json
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.whole.process import Hookward
from tests.whole.recorder import RecordingUpstream
from tests.whole.test_queue import FAILED, Place, bodies, delivery, sent, until
from tests.whole.wire import once

OWN = b"a secret of the staging application"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


@pytest.fixture
def place(tmp_path: Path, start: Callable[..., Hookward], upstream: RecordingUpstream) -> Place:
    (tmp_path / "staging.secret").write_bytes(OWN)
    (tmp_path / "staging.secret").chmod(0o600)
    return Place(tmp_path, start, upstream)


@pytest.fixture
def staging() -> Iterator[RecordingUpstream]:
    with RecordingUpstream() as one:
        yield one


@pytest.mark.parametrize(("deliver", "status"), [("direct", 200), ("fallback", 200), ("queue", 202)])
def test_each_delivery_goes_to_both(
    place: Place, upstream: RecordingUpstream, staging: RecordingUpstream, deliver: str, status: int
) -> None:
    hookward = place.begin(f'deliver = "{deliver}"\ncopies = ["{staging.url}"]')
    sizes = 20, 100_000, 1_000_000
    for number, size in enumerate(sizes):
        assert sent(hookward, number, b"%d" % number * size).status == status
    upstream.wait_complete(3)
    staging.wait_complete(3)
    assert set(bodies(staging)) == set(bodies(upstream)) == {b"%d" % number * size for number, size in enumerate(sizes)}
    for got in staging.complete:
        assert got.get(b"Webhook-Attempt") == b"1"
        assert (got.get(b"Webhook-Verified") or b"").startswith(b"github; secret=")
        assert got.get(b"X-Hub-Signature-256") in {one.get(b"X-Hub-Signature-256") for one in upstream.complete}
    assert until(lambda: place.conditions() == [])
    assert not list((place.folder / "state" / "queue" / "bodies").iterdir())


def test_a_copy_that_is_away_changes_nothing_for_the_sender(
    place: Place, upstream: RecordingUpstream, staging: RecordingUpstream
) -> None:
    staging.manner.answer = FAILED
    hookward = place.begin(f'copies = ["{staging.url}"]')
    assert [sent(hookward, number).status for number in range(5)] == [200] * 5
    assert len(bodies(upstream)) == 5
    lane = f"hook@{staging.url.removeprefix('http://')}"
    assert until(lambda: {one["route"] for one in place.listed()} == {lane} and len(place.listed()) == 5)
    assert lane in place.command()
    place.command("pause", "hook", code=64)
    for action in ("pause", "resume"):
        place.command(action, lane)
    assert lane in place.command("show", str(place.listed()[0]["id"]))
    hookward.process.send_signal(signal.SIGKILL)
    hookward.wait()
    staging.manner.answer = OK
    place.begin(f'copies = ["{staging.url}"]')
    assert until(lambda: set(bodies(staging)) == {b'{"n":%d}' % number for number in range(5)})
    assert until(lambda: place.conditions() == [])
    assert len(bodies(upstream)) == 5


def test_the_application_may_be_away_and_its_copy_is_not(place: Place, staging: RecordingUpstream) -> None:
    hookward = place.begin(f'copies = ["{staging.url}"]', url="http://127.0.0.1:9")
    assert sent(hookward).status == 502
    assert len(staging.wait_complete()) == 1


def test_what_is_forged_is_not_copied(place: Place, upstream: RecordingUpstream, staging: RecordingUpstream) -> None:
    hookward = place.begin(f'copies = ["{staging.url}"]')
    assert once(hookward.address, delivery().replace(b'{"n":1}', b'{"n":2}')).status == 403
    assert sent(hookward, 3).status == 200
    assert [bytes(one.content) for one in staging.wait_complete()] == [b'{"n":3}']
    assert len(bodies(upstream)) == 1


def test_a_copy_has_a_filter_and_a_secret_of_its_own(
    place: Place, upstream: RecordingUpstream, staging: RecordingUpstream
) -> None:
    hookward = place.begin(
        f'copies = [{{ url = "{staging.url}/base", where = {{ n = [2] }}, secret = "file:staging.secret" }}]'
    )
    for number in range(4):
        assert sent(hookward, number).status == 200
    assert until(lambda: len(bodies(staging)) == 1 and place.conditions() == [])
    [got] = staging.complete
    assert (bytes(got.content), got.target) == (b'{"n":2}', b"/base/")
    assert got.get(b"X-Hub-Signature-256") == b"sha256=" + hmac.new(OWN, got.content, "sha256").hexdigest().encode()
    assert (got.get(b"Webhook-Verified") or b"").endswith(b"; resigned")
    assert len(bodies(upstream)) == 4


@pytest.mark.parametrize(("deliver", "status"), [("direct", 200), ("queue", 202)])
def test_a_full_store_loses_the_copy_alone(
    place: Place, upstream: RecordingUpstream, staging: RecordingUpstream, deliver: str, status: int
) -> None:
    staging.manner.answer = FAILED
    top = f'admin = "unix:{place.folder}/admin.sock"\n[queue]\nmax_bytes = "64KiB"\n'
    hookward = place.begin(f'deliver = "{deliver}"\ncopies = ["{staging.url}"]', top=top)
    for number in range(8):
        assert sent(hookward, number, b"%d" % number * 10_000).status == status
        assert until(lambda: len(set(bodies(upstream))) == number + 1)  # noqa: B023 - it is asked at once

    def lost() -> bool:
        asked = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n"
        answer = once(str(place.folder / "admin.sock"), asked, method="GET")
        return b"hookward_queue_copies_lost_total{route=" in answer.content

    assert until(lost)
    assert 0 < len(place.conditions()) < 8


def test_the_token_of_the_route_stays_here(
    tmp_path: Path, start: Callable[..., Hookward], upstream: RecordingUpstream, staging: RecordingUpstream
) -> None:
    (tmp_path / "token").write_bytes(b"t0ken-4711-of-this-route-alone")
    (tmp_path / "token").chmod(0o600)
    (tmp_path / "hookward.toml").write_text(
        f'listen = "127.0.0.1:0"\nupstream = "{upstream.url}"\nstate_dir = "state"\n[route.hook]\n'
        f'token = {{ header = "X-Gitlab-Token", secrets = ["file:token"] }}\ncopies = ["{staging.url}"]\n'
    )
    hookward = start("--config", tmp_path / "hookward.toml", secrets=[b"t0ken-4711-of-this-route-alone"])
    asked = (
        b"POST /x HTTP/1.1\r\nHost: h\r\nX-Gitlab-Token: t0ken-4711-of-this-route-alone\r\nContent-Length: 2\r\n\r\n{}"
    )
    assert once(hookward.address, asked).status == 200
    [got] = staging.wait_complete()
    assert got.get(b"X-Gitlab-Token") is None
    assert upstream.complete[0].get(b"X-Gitlab-Token") == b"t0ken-4711-of-this-route-alone"
    assert json.loads(got.content) == {}
