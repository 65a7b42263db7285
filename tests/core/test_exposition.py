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

from proxy.core.exposition import Snapshot, read_snapshot, render, render_labels, render_open_metrics
from proxy.core.metric_families import FAMILIES
from proxy.core.metrics import Metrics, lasting, merge
from proxy.core.record import ExchangeRecord
from proxy.reasons import Reason


def filled() -> Metrics:
    metrics = Metrics("1.0", "3.11")
    metrics.expect({"github": 10.0})
    for duration, status in ((0.004, 200), (12.0, 502)):
        record = ExchangeRecord("a", 1.0, "192.0.2.1", "192.0.2.1", reason=Reason.DELIVERED, status=status)
        record.route = record.provider = "github"
        record.duration_s = record.upstream_duration_s = duration
        metrics.exchange(record)
    metrics.tls_handshakes.reach(3, "done")
    metrics.certificate_expiry.set(1.8e9, 'C:\\"odd"\nname')
    metrics.upstream_up.set(1, "http://127.0.0.1:8000")
    return metrics


SNAPSHOT = {
    "hookward_sender_budget_used_ratio": {
        "": [1, 0, 2, 0, 0, 0, 0, 0, 0, 1, 2.5],
        'route="a"': [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0.0],
    },
    "hookward_upstream_up": {'upstream="\ud800"': 0.25},
    "hookward_log_lines_dropped_total": {"": 3.0},
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
        *buckets("", 1, 1, 3, 3, 3, 3, 3, 3, 3, 4, last=last),
        "hookward_sender_budget_used_ratio_sum 2.5",
        "hookward_sender_budget_used_ratio_count 4",
        *buckets('route="a",', *[0] * 10, last=last),
        'hookward_sender_budget_used_ratio_sum{route="a"} 0',
        'hookward_sender_budget_used_ratio_count{route="a"} 0',
        UP,
        DROPPED,
    ]


def test_labels_are_written_with_three_escapes() -> None:
    assert render_labels(("a", "b"), ('x\\y"z\n', "")) == 'a="x\\\\y\\"z\\n",b=""'
    assert render_labels((), ()) == ""


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
    metrics.upstream_up.set(1, label)
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
        ["promtool", "check", "metrics"],
        input=render(filled().snapshot()),
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


NUMBERS = st.integers() | st.floats() | st.booleans() | st.just(10**400)
SAMPLES = NUMBERS | st.lists(NUMBERS, max_size=20) | st.none() | st.text(max_size=5)
LABELS = st.sampled_from(["", 'route="a"', 'a="b"\n']) | st.integers()
HOSTILE = st.dictionaries(
    st.sampled_from([family.name for family in FAMILIES]) | st.text(max_size=5),
    st.dictionaries(LABELS, SAMPLES) | NUMBERS,
)


def test_what_a_process_sends_of_itself_is_read():
    snapshot = filled().snapshot()
    snapshot["hookward_upstream_up"]['upstream="down"'] = False
    assert read_snapshot(json.loads(json.dumps(snapshot))) == json.loads(json.dumps(snapshot))


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
        {"hookward_connections": []},
        {"hookward_connections_accepted_total": {"": -1}},
        {"hookward_connections_accepted_total": {"": [1]}},
        {"hookward_connections_accepted_total": {"": math.nan}},
        {"hookward_connections_accepted_total": {"": 10**400}},
        {"hookward_connections_accepted_total": {"a\nb": 1}},
        {"hookward_exchange_duration_seconds": {"": 1}},
        {"hookward_exchange_duration_seconds": {"": [0, 1]}},
        {"hookward_exchange_duration_seconds": {"": []}},
    ],
)
def test_what_is_no_snapshot(sent: object):
    with pytest.raises(ValueError, match=r"metric|labels|sample"):
        read_snapshot(sent)
