"""What we write is read by Prometheus' own parsers, in both formats, with the same values."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.openmetrics import parser as open_metrics
from prometheus_client.parser import text_string_to_metric_families

from proxy.core.metric_families import CERTIFICATE_EXPIRY, FAMILIES, TLS_HANDSHAKES, UPSTREAM_UP, Traits
from proxy.core.metrics import (
    Metrics,
    Snapshot,
    lasting,
    merge,
    plain_snapshot,
    read_snapshot,
    render,
    render_open_metrics,
)
from proxy.core.record import ExchangeRecord
from proxy.reasons import Reason


def filled() -> Metrics:
    metrics = Metrics("1.0", "3.11")
    metrics.expect({"github": Traits(10.0)})
    for duration, status in ((0.004, 200), (12.0, 502)):
        record = ExchangeRecord("a", 1.0, "192.0.2.1", "192.0.2.1", reason=Reason.DELIVERED, status=status)
        record.route = record.provider = "github"
        record.duration_s = record.upstream_duration_s = duration
        metrics.exchange(record)
    metrics.set(TLS_HANDSHAKES, 3, "done")
    metrics.set(CERTIFICATE_EXPIRY, 1.8e9, 'C:\\"odd"\nname')
    metrics.set(UPSTREAM_UP, 1, "http://127.0.0.1:8000")
    return metrics


SNAPSHOT: Snapshot = {
    "hookward_sender_budget_used_ratio": {
        ("b",): [1, 0, 2, 0, 0, 0, 0, 0, 0, 1, 2.5],
        ("a",): [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0.0],
    },
    "hookward_upstream_up": {("\ud800",): 0.25},
    "hookward_log_lines_dropped_total": {(): 3.0},
}
UP, DROPPED = 'hookward_upstream_up{upstream="?"} 0.25', "hookward_log_lines_dropped_total 3"


def buckets(labels: str, *counts: int, last: str) -> list[str]:
    bounds = ["0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "0.75", "0.9", last, "+Inf"]
    name = "hookward_sender_budget_used_ratio_bucket"
    return [f'{name}{{{labels}le="{bound}"}} {count}' for bound, count in zip(bounds, counts, strict=True)]


@pytest.mark.parametrize(
    ("write", "last", "end"), [(render, "1", [""]), (render_open_metrics, "1.0", ["# EOF", ""])], ids=["old", "open"]
)
def test_the_text_line_by_line(write: Callable[[Snapshot], bytes], last: str, end: list[str]) -> None:
    lines = write(SNAPSHOT).decode().split("\n")
    assert lines[-len(end) :] == end
    assert lines[-len(end) - 1] == DROPPED
    assert [line for line in lines if line and not line.startswith("#")] == [
        *buckets('route="b",', 1, 1, 3, 3, 3, 3, 3, 3, 3, 4, last=last),
        'hookward_sender_budget_used_ratio_sum{route="b"} 2.5',
        'hookward_sender_budget_used_ratio_count{route="b"} 4',
        *buckets('route="a",', *[0] * 10, last=last),
        'hookward_sender_budget_used_ratio_sum{route="a"} 0',
        'hookward_sender_budget_used_ratio_count{route="a"} 0',
        UP,
        DROPPED,
    ]


def test_labels_are_written_with_three_escapes() -> None:
    metrics = Metrics('x\\y"z\n', "")
    assert 'hookward_build_info{version="x\\\\y\\"z\\n",python=""} 1' in metrics.expose().decode().split("\n")


def test_both_formats_say_the_same() -> None:
    snapshot = filled().snapshot()
    old = {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(render(snapshot).decode())
        for sample in family.samples
        if "le" not in sample.labels
    }
    new = {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in open_metrics.text_string_to_metric_families(render_open_metrics(snapshot).decode())
        for sample in family.samples
        if "le" not in sample.labels
    }
    assert old == new
    assert old["hookward_sender_budget_used_ratio_count", ("route", "github")] == 2
    assert old["hookward_sender_budget_used_ratio_sum", ("route", "github")] == pytest.approx(1.2004)


def test_open_metrics_ends_and_has_the_kinds_of_the_families() -> None:
    text = render_open_metrics(filled().snapshot()).decode()
    assert text.endswith("\n# EOF\n")
    kinds = {family.name: family.type for family in open_metrics.text_string_to_metric_families(text)}
    known = {family.name.removesuffix("_total"): family.kind for family in FAMILIES}
    assert kinds
    assert kinds.items() <= known.items()


def test_a_counter_is_named_as_open_metrics_wants_it() -> None:
    assert all(family.name.endswith("_total") == (family.kind == "counter") for family in FAMILIES)


@given(st.text(max_size=20))
def test_any_label_survives(label: str) -> None:
    metrics = Metrics()
    metrics.set(UPSTREAM_UP, 1, label)
    written = label.encode("utf-8", "replace").decode()
    for text, parse in (
        (render(metrics.snapshot()), text_string_to_metric_families),
        (render_open_metrics(metrics.snapshot()), open_metrics.text_string_to_metric_families),
    ):
        # Lines end at newlines alone: other separators of Unicode are part of a label.
        [sample] = [s for f in parse(text.decode()) if f.name == "hookward_upstream_up" for s in f.samples]
        assert sample.labels == {"upstream": written}


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed (Debian: prometheus)")
def test_promtool_finds_nothing_wrong() -> None:
    done = subprocess.run(
        ["promtool", "check", "metrics"], input=render(filled().snapshot()), capture_output=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


NUMBERS = st.integers() | st.floats() | st.booleans() | st.just(10**400)
SAMPLES = NUMBERS | st.lists(NUMBERS, max_size=20) | st.none() | st.text(max_size=5)
LABELS = st.lists(st.text(max_size=3) | NUMBERS, max_size=3) | st.integers()
HOSTILE = st.dictionaries(
    st.sampled_from([family.name for family in FAMILIES]) | st.text(max_size=5),
    st.lists(st.tuples(LABELS, SAMPLES).map(list) | SAMPLES) | NUMBERS,
)


def test_what_a_process_sends_of_itself_is_read():
    snapshot = filled().snapshot()
    snapshot["hookward_upstream_up"]["down",] = False
    assert read_snapshot(json.loads(json.dumps(plain_snapshot(snapshot)))) == snapshot


@given(st.lists(HOSTILE | st.none() | st.lists(st.integers()), max_size=4))
def test_what_is_read_adds_up_and_can_be_shown(sent: list[object]):
    """Whatever else was sent: a ValueError, and nothing but that, and before it is added to anything."""
    good = [filled().snapshot()]
    for one in sent:
        try:
            good.append(read_snapshot(one))
        except ValueError:
            continue
    total = merge([merge(good), *map(lasting, good)])
    assert all(
        math.isfinite(value) for samples in total.values() for value in samples.values() if not isinstance(value, list)
    )
    render(total)
    render_open_metrics(total)


@pytest.mark.parametrize(
    "sent",
    [
        None,
        {"hookward_no_such": {}},
        {"hookward_connections": {}},
        {"hookward_connections_accepted_total": [[]]},
        {"hookward_connections_accepted_total": [[[], -1]]},
        {"hookward_connections_accepted_total": [[[], [1]]]},
        {"hookward_connections_accepted_total": [[[], math.nan]]},
        {"hookward_connections_accepted_total": [[[], 10**400]]},
        {"hookward_connections_accepted_total": [[["a"], 1]]},
        {"hookward_connections": [[["a", "b"], 1]]},
        {"hookward_connections": [[[1], 1]]},
        {"hookward_connections": [["a", 1]]},
        {"hookward_exchange_duration_seconds": [[["a"], 1]]},
        {"hookward_exchange_duration_seconds": [[["a"], [0, 1]]]},
        {"hookward_exchange_duration_seconds": [[["a"], []]]},
    ],
)
def test_what_is_no_snapshot(sent: object):
    with pytest.raises(ValueError, match=r"metric|labels|sample"):
        read_snapshot(sent)
