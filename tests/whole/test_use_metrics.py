"""What was used, and when it last was: by secret and by event, in the metrics and in ``/status``."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.whole.conftest import SECRET
from tests.whole.process import Hookward
from tests.whole.recorder import RecordingUpstream
from tests.whole.wire import github, once, request

BODY = b'{"zen":"Design for failure."}'
CONFIG = """
upstream = "{upstream}"
admin = "127.0.0.1:0"
workers = {workers}
[route.github]
path = "/hooks"
provider = "github"
secrets = [{{ name = "new", from = "file:{new}" }}, {{ name = "old", from = "file:{old}" }}]
"""


@pytest.mark.parametrize("workers", [1, 2])
def test_a_rotation_is_seen_in_the_numbers(
    configured: Callable[..., Hookward], upstream: RecordingUpstream, secret_file: Path, tmp_path: Path, workers: int
) -> None:
    new = tmp_path / "new.secret"
    new.write_bytes(b"a secret that nobody has set yet")
    new.chmod(0o600)
    text = CONFIG.format(upstream=upstream.url, new=new, old=secret_file, workers=workers)
    hookward = configured(text, listeners=2, secrets=[SECRET])
    to, admin = hookward.addresses
    for event, status in (("push", 200), ("push", 200), ("made_up", 200)):
        assert once(to, request("POST", "/hooks", github(SECRET, BODY, event=event), BODY)).status == status
    assert once(to, request("POST", "/hooks", github(b"wrong", BODY, event="ping"), BODY)).status == 403
    hookward.logged({"webhook.reason": "delivered"}, 3)
    metrics = once(admin, request("GET", "/metrics", host="localhost")).content.decode()
    found = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(metrics)
        for sample in family.samples
    }
    assert found["hookward_deliveries_total", "github", "push"] == 2
    assert found["hookward_deliveries_total", "github", "other"] == 1
    assert "made_up" not in metrics
    assert found["hookward_secret_uses_total", "github", "old"] == 3
    assert found["hookward_secret_uses_total", "github", "new"] == 0
    last = found["hookward_secret_last_used_timestamp_seconds", "github", "old"]
    assert ("hookward_secret_last_used_timestamp_seconds", "github", "new") not in found
    [route] = json.loads(once(admin, request("GET", "/status", host="localhost")).content)["routes"]
    uses = {one["name"]: (one["uses"], one["last_used"]) for one in route["secrets"]}
    assert uses["new"] == (0, None)
    assert uses["old"] == (3, pytest.approx(last, abs=0.01))
