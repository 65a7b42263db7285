"""The counters, and that Prometheus reads what we write."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from proxy.core.metric_families import CONNECTIONS, FAMILIES, GENERATION, IN_FLIGHT, LOG_DROPPED, UPSTREAM_UP, Traits
from proxy.core.metrics import Metrics, lasting, merge, plain_snapshot, read_snapshot, render
from proxy.core.record import ExchangeRecord
from proxy.reasons import Reason


def record(**changes: Any) -> ExchangeRecord:
    fields = {
        "request_id": "a" * 16,
        "started": 1.0,
        "peer": "192.0.2.1",
        "client": "192.0.2.1",
        "reason": Reason.DELIVERED,
        "status": 204,
        "route": "github",
        "provider": "github",
        "duration_s": 0.004,
        "upstream_duration_s": 0.003,
        "bytes_in": 100,
        "bytes_out": 7,
    }
    return ExchangeRecord(**(fields | changes))


def samples(text: bytes) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def value(text: bytes, name: str, **labels: str) -> float:
    return samples(text)[(name, tuple(sorted(labels.items())))]


def test_an_exchange_is_counted_under_its_route_provider_reason_and_class():
    metrics = Metrics()
    metrics.exchange(record())
    metrics.exchange(record())
    metrics.exchange(record(reason=Reason.SIGNATURE_MISMATCH, status=403, upstream_duration_s=0.0))
    text = metrics.expose()
    name = "hookward_exchanges_total"
    assert value(text, name, route="github", provider="github", reason="delivered", status_class="2xx") == 2
    assert value(text, name, route="github", provider="github", reason="signature_mismatch", status_class="4xx") == 1
    assert value(text, "hookward_request_bytes_total", route="github") == 300
    assert value(text, "hookward_response_bytes_total", route="github") == 21


def test_what_was_not_answered_has_no_class():
    metrics = Metrics()
    metrics.exchange(record(reason=Reason.SENDER_GONE, status=0))
    labels = {"route": "github", "provider": "github", "reason": "sender_gone", "status_class": "none"}
    assert value(metrics.expose(), "hookward_exchanges_total", **labels) == 1


@pytest.mark.parametrize(
    ("seconds", "first_bucket"),
    [(0.0, "0.001"), (0.001, "0.001"), (0.0011, "0.0025"), (0.9, "1"), (90.0, "90"), (90.1, "+Inf"), (5000.0, "+Inf")],
)
def test_durations_fall_into_cumulative_buckets(seconds: float, first_bucket: str):
    metrics = Metrics()
    metrics.exchange(record(duration_s=seconds))
    text = metrics.expose()
    buckets = {
        dict(labels)["le"]: count
        for (name, labels), count in samples(text).items()
        if name == "hookward_exchange_duration_seconds_bucket"
    }
    reached = [bound for bound, count in buckets.items() if count == 1]
    assert min(reached, key=float) == first_bucket
    assert buckets["+Inf"] == 1
    assert value(text, "hookward_exchange_duration_seconds_count", route="github") == 1
    assert value(text, "hookward_exchange_duration_seconds_sum", route="github") == pytest.approx(seconds)


def test_each_exchange_is_one_more_in_its_buckets():
    metrics = Metrics()
    metrics.exchange(record())
    metrics.expect({"github": Traits(0.1), "other": Traits(10.0)})
    for _ in range(3):
        metrics.exchange(record(duration_s=0.02, upstream_duration_s=0.003))
    metrics.exchange(record(route="other", duration_s=0.5))
    metrics.exchange(record(route="unknown", duration_s=0.5))
    text = metrics.expose()

    def told(name: str, route: str, *bounds: str) -> list[float]:
        buckets = [value(text, f"hookward_{name}_bucket", route=route, le=bound) for bound in bounds]
        ends = [value(text, f"hookward_{name}_{end}", route=route) for end in ("count", "sum")]
        return [*buckets, *(round(end, 6) for end in ends)]

    assert told("exchange_duration_seconds", "github", "0.0025", "0.005", "0.025") == [0, 1, 4, 4, 0.064]
    assert told("upstream_duration_seconds", "github", "0.0025", "0.005") == [0, 4, 4, 0.012]
    assert told("sender_budget_used_ratio", "github", "0.1", "0.25") == [0, 3, 3, 0.6]
    assert told("sender_budget_used_ratio", "other", "0.025", "0.05") == [0, 1, 1, 0.05]
    assert ("hookward_sender_budget_used_ratio_count", (("route", "unknown"),)) not in samples(text)


def test_an_exchange_that_never_reached_the_upstream_is_not_timed_there():
    metrics = Metrics()
    metrics.exchange(record(upstream_duration_s=0.0))
    assert value(metrics.expose(), "hookward_upstream_duration_seconds_count", route="github") == 0


def test_observed_refusals_are_counted_apart():
    metrics = Metrics()
    metrics.exchange(record(observed=Reason.TOKEN_MISSING))
    text = metrics.expose()
    assert value(text, "hookward_observed_refusals_total", route="github", reason="token_missing") == 1


def test_series_that_must_exist_before_their_first_event_do():
    text = Metrics("1.2.3", "3.11").expose()
    assert value(text, "hookward_accept_refused_total", cause="address") == 0
    assert [value(text, "hookward_reloads_total", result=result) for result in ("done", "refused")] == [0, 0]
    assert value(text, "hookward_last_reload_successful") == 1
    assert value(text, "hookward_build_info", version="1.2.3", python="3.11") == 1


def test_every_family_has_its_place():
    metrics = Metrics()
    assert metrics.snapshot().keys() == {family.name for family in FAMILIES}
    assert value(metrics.expose(), "hookward_build_info", version="", python="") == 1


def test_gauges_are_as_they_were_found_last():
    metrics = Metrics()
    metrics.set(IN_FLIGHT, 2)
    metrics.set(IN_FLIGHT, 1)
    metrics.set(CONNECTIONS, 7, "idle")
    metrics.set(LOG_DROPPED, 3)
    text = metrics.expose()
    assert value(text, "hookward_exchanges_in_flight") == 1
    assert value(text, "hookward_connections", state="idle") == 7
    assert value(text, "hookward_log_lines_dropped_total") == 3


def test_workers_are_added_but_what_they_share_is_not():
    one, two = Metrics("1", "3"), Metrics("1", "3")
    for metrics in (one, two):
        metrics.exchange(record())
        metrics.set(GENERATION, 4)
        metrics.set(IN_FLIGHT, 2)
    two.exchange(record(route="other", status=502, reason=Reason.UPSTREAM_RESET))
    text = render(merge(read_snapshot(json.loads(json.dumps(plain_snapshot(m.snapshot())))) for m in (one, two)))
    labels = {"route": "github", "provider": "github", "reason": "delivered", "status_class": "2xx"}
    assert value(text, "hookward_exchanges_total", **labels) == 2
    assert value(text, "hookward_exchange_duration_seconds_count", route="github") == 2
    assert value(text, "hookward_exchange_duration_seconds_count", route="other") == 1
    assert value(text, "hookward_policy_generation") == 4
    assert value(text, "hookward_exchanges_in_flight") == 4
    assert value(text, "hookward_build_info", version="1", python="3") == 1


def test_of_what_workers_share_the_greatest_or_the_least_counts():
    old, new = Metrics(), Metrics()
    for metrics, generation, up in ((old, 4, 0), (new, 5, 1)):
        metrics.set(GENERATION, generation)
        metrics.set(UPSTREAM_UP, up, "http://127.0.0.1:8000")
    for snapshots in ([old.snapshot(), new.snapshot()], [new.snapshot(), old.snapshot()]):
        merged = merge(snapshots)
        assert merged["hookward_policy_generation"] == {(): 5}
        assert merged["hookward_upstream_up"] == {("http://127.0.0.1:8000",): 0}


def test_merging_leaves_the_snapshots_alone():
    metrics = Metrics()
    metrics.exchange(record())
    before = metrics.snapshot()
    merge([before, metrics.snapshot()])
    assert before == metrics.snapshot()


def test_of_a_worker_that_is_gone_only_what_it_counted_lasts():
    gone, here = Metrics(), Metrics()
    for metrics in (gone, here):
        metrics.exchange(record())
        metrics.set(IN_FLIGHT, 2)
    text = render(merge([lasting(gone.snapshot()), here.snapshot()]))
    labels = {"route": "github", "provider": "github", "reason": "delivered", "status_class": "2xx"}
    assert value(text, "hookward_exchanges_total", **labels) == 2
    assert value(text, "hookward_exchange_duration_seconds_count", route="github") == 2
    assert value(text, "hookward_exchanges_in_flight") == 2


def test_names_follow_the_conventions_of_prometheus():
    for family in FAMILIES:
        assert family.name.startswith("hookward_")
        assert family.name.endswith("_total") == (family.kind == "counter")
        assert family.text.endswith(".")
        assert "\n" not in family.text


@given(st.text(max_size=30))
def test_any_label_value_survives_the_text(route: str):
    metrics = Metrics()
    metrics.exchange(record(route=route))
    found = [
        dict(labels)["route"] for (name, labels) in samples(metrics.expose()) if name == "hookward_request_bytes_total"
    ]
    assert found == [route.encode("utf-8", "replace").decode()]


KNOWN = {"github": Traits(events=frozenset({"push", "ping"}), secrets=frozenset({"2026-q3", "2026-q4"}))}


def test_deliveries_are_counted_by_event_with_labels_of_a_closed_list():
    metrics = Metrics()
    metrics.expect(KNOWN)
    for event in ("push", "push", "made up", "another", ""):
        metrics.exchange(record(verdict="admitted", event=event))
    metrics.exchange(record(verdict="refused", event="push"))
    metrics.exchange(record(verdict="observed", event="push"))
    text = metrics.expose()
    counted = {dict(labels)["event"]: n for (name, labels), n in samples(text).items() if "deliveries" in name}
    assert counted == {"push": 2, "other": 2, "none": 1}
    assert b"made up" not in text


@given(st.lists(st.text(max_size=9), max_size=60))
def test_no_client_can_add_a_series_by_its_event(events: list[str]):
    metrics = Metrics()
    metrics.expect(KNOWN)
    for event in events:
        metrics.exchange(record(verdict="admitted", event=event))
    assert {labels[1] for labels in metrics.snapshot()["hookward_deliveries_total"]} <= {
        "push",
        "ping",
        "other",
        "none",
    }


def test_uses_of_secrets_are_counted_and_the_last_is_known():
    metrics = Metrics()
    metrics.expect(KNOWN)
    uses, last = "hookward_secret_uses_total", "hookward_secret_last_used_timestamp_seconds"
    assert value(metrics.expose(), uses, route="github", secret="2026-q4") == 0, "shown before it is used"
    assert last.encode() + b"{" not in metrics.expose()
    metrics.exchange(record(verdict="admitted", secret_name="2026-q4", started=100.0))
    metrics.exchange(record(verdict="admitted", secret_name="2026-q4", started=200.0))
    metrics.exchange(record(verdict="refused", secret_name="2026-q3", started=300.0))
    metrics.exchange(record(verdict="admitted", secret_name="of a load before", started=300.0))
    text = metrics.expose()
    assert value(text, uses, route="github", secret="2026-q4") == 2
    assert value(text, uses, route="github", secret="2026-q3") == 0
    assert value(text, last, route="github", secret="2026-q4") == 200.0
    assert b"of a load before" not in text
    metrics.expect({"github": Traits(secrets=frozenset({"2026-q4"}))})
    text = metrics.expose()
    assert value(text, uses, route="github", secret="2026-q4") == 2, "a reload forgets no use"
    assert b"2026-q3" not in text


def test_the_last_use_outlives_its_worker():
    first, second = Metrics(), Metrics()
    for metrics, started in ((first, 200.0), (second, 100.0)):
        metrics.expect(KNOWN)
        metrics.exchange(record(verdict="admitted", secret_name="2026-q4", started=started))
    merged = merge([lasting(first.snapshot()), second.snapshot()])
    assert merged["hookward_secret_last_used_timestamp_seconds"] == {("github", "2026-q4"): 200.0}
    assert merged["hookward_secret_uses_total"]["github", "2026-q4"] == 2
