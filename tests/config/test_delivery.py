"""How a route delivers, as it is written; and what would look like a promise and be none."""

from __future__ import annotations

import pytest

from proxy.config.problems import rule_of
from proxy.core.delivery import Deliver, RetryRule, TurnRule
from proxy.core.payload import Pointer
from proxy.core.policy import BodyMode
from tests.config.loading import ENDS, GITHUB, KEEPER, Workplace

QUEUE = f'{KEEPER}deliver = "queue"\n'


def test_a_route_delivers_directly_by_itself(place: Workplace) -> None:
    assert place.routes(KEEPER)["hook"].delivery is None


def test_all_of_it(place: Workplace) -> None:
    text = f"""{KEEPER}deliver = "fallback"
accepted_status = 200
ambiguous = "keep"
retry = {{ first = "1s", most = "1m", for = "2h", on = ["5xx", 409] }}
concurrency = 9
pace = "10/s"
order = "strict"
order_by = "X-Repo"
coalesce = "ref"
keep_authorization = true
resign = true
"""
    loaded = place.load(text)
    [route] = loaded.policy.routes
    rule = route.delivery
    assert rule is not None
    assert (rule.deliver, rule.accepted_status, rule.ambiguous) == (Deliver.FALLBACK, 200, True)
    assert rule.retry == RetryRule(1.0, 60.0, 7200.0, frozenset({409}), frozenset({5}))
    assert (rule.concurrency, rule.pace_per_s, rule.strict, rule.order_by) == (9, 10.0, True, Pointer.parse("X-Repo"))
    assert (rule.coalesce, rule.keeps_authorization, rule.keeps, rule.resign) == (
        Pointer.parse("ref"),
        True,
        True,
        True,
    )
    assert route.body is BodyMode.HOLD
    queue = loaded.settings.queue
    assert queue is not None
    assert queue.path == str(place.folder / "state" / "queue")


def test_a_folder_of_its_own(place: Workplace) -> None:
    queue = place.load(f'{QUEUE}[queue]\npath = "kept"\nmax_bytes = "2MiB"\nmax_age = "1d"\n').settings.queue
    assert queue is not None
    assert (queue.path, queue.max_bytes, queue.max_age_s) == (str(place.folder / "kept"), 2 << 20, 86400.0)


@pytest.mark.parametrize(
    ("text", "where", "what"),
    [
        (QUEUE.replace('state_dir = "state"\n', ""), "deliver", "no place is named"),
        (f'{QUEUE}order_by = "X-Repo"\n', "order_by", "without an order"),
        (f'{QUEUE}order = "strict"\norder_by = "a..b"\n', "order_by", "no place in a payload"),
        (f'{QUEUE}coalesce = "repository."\n', "coalesce", "no place in a payload"),
        (f'{QUEUE}retry = {{ first = "2h" }}\n', "retry.first", "above the longest"),
        (f'{QUEUE}retry = {{ on = ["2xx"] }}\n', "retry.on", "no status of a failure"),
        (f"{QUEUE}accepted_status = 302\n", "accepted_status", "above the most"),
        (f'{QUEUE}[queue]\nurl = "redis://127.0.0.1"\n', "queue.url", "has no effect"),
        (
            QUEUE.replace(GITHUB, 'token = { header = "X-Token", secrets = ["file:token"] }\nresign = true\n'),
            "resign",
            "nothing signs",
        ),
        (f'state_dir = "s"\n{ENDS}[route.hook]\nopen = true\ndeliver = "queue"\n', "deliver", "any client could fill"),
    ],
)
def test_what_is_no_promise(place: Workplace, text: str, where: str, what: str) -> None:
    [problem] = place.problems(text)
    assert where in problem.where
    assert what in problem.what


@pytest.mark.parametrize(
    ("text", "rule", "key"),
    [
        (f'{KEEPER}order = "strict"\n', "H322", "order"),
        (f'{KEEPER}ambiguous = "keep"\n', "H322", "ambiguous"),
        (f'{KEEPER}retry = {{ first = "1s" }}\n', "H322", "retry"),
        (f'{KEEPER}order = "strict"\ncopies = []\n', "H322", "order"),
        (f'{KEEPER}accepted_status = 200\ncopies = ["http://10.0.0.9"]\n', "H322", "accepted_status"),
        (f'{KEEPER}body = "tail"\ncopies = ["http://10.0.0.9"]\n', "H323", "body"),
        (f'{QUEUE}ambiguous = "keep"\n', "H322", "ambiguous"),
        (f'{QUEUE}body = "tail"\n', "H323", "body"),
        (f'{KEEPER}concurrency = 3\nbody = "tail"\n', "H323", "body"),
    ],
)
def test_what_has_no_effect_is_told_and_starts(place: Workplace, text: str, rule: str, key: str) -> None:
    loaded = place.load(text)
    [told] = [one for one in loaded.settings.warnings if rule_of(one) == rule]
    assert f".{key}: " in told
    if rule == "H323":
        assert loaded.policy.routes[0].body is BodyMode.HOLD


@pytest.mark.parametrize("deliver", [kind.value for kind in Deliver])
def test_all_keys_of_a_delivery_go_with_each_kind(place: Workplace, deliver: str) -> None:
    loaded = place.load(
        QUEUE.replace('deliver = "queue"', f'deliver = "{deliver}"')
        + 'accepted_status = 202\nambiguous = "refuse"\norder = "none"\nresign = false\ncopies = []\ncoalesce = ""\n'
    )
    assert not {rule_of(one) for one in loaded.settings.warnings} & {"H322", "H323"}, "they are the defaults"


@pytest.mark.parametrize("deliver", ["direct", "fallback"])
def test_turns_before_the_application(place: Workplace, deliver: str) -> None:
    text = f'workers = 3\n{KEEPER}deliver = "{deliver}"\n'
    assert place.routes(text)["hook"].turns is None, "the default of concurrency is for what is kept"
    loaded = place.load(f'{text}concurrency = 2\npace = "30/s"\n')
    [route] = loaded.policy.routes
    assert route.turns == TurnRule(2, 30.0, 3)
    assert (route.turns.at_once, route.turns.per_s, route.body) == (1, 10.0, BodyMode.HOLD)
    assert any("each of 3 workers lets one through" in one for one in loaded.settings.warnings)
    paced = place.routes(f'{text}pace = "3/m"\n')["hook"].turns
    assert paced is not None
    assert (paced.at_once, paced.per_s) == (0, 0.05 / 3)


def test_what_is_only_kept_takes_no_turns(place: Workplace) -> None:
    assert place.routes(f"{QUEUE}concurrency = 2\n")["hook"].turns is None


def test_a_body_that_proves_nothing_streams_to_its_turn(place: Workplace) -> None:
    text = KEEPER.replace(GITHUB, 'token = { header = "X-Token", secrets = ["file:token"] }\n')
    assert place.routes(f"{text}concurrency = 2\n")["hook"].body is BodyMode.FREE


def test_copies_take_no_turns(place: Workplace) -> None:
    route = place.routes(f'{KEEPER}concurrency = 2\ncopies = ["http://staging:8000"]\n')["hook"]
    assert [one.turns for one in (route, *route.copies)] == [TurnRule(2, 0.0, 1), None]


def test_a_queue_that_nothing_uses_is_told(place: Workplace) -> None:
    assert any("no route keeps" in one for one in place.load(f"{KEEPER}[queue]\n").settings.warnings)
