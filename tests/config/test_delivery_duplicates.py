"""What a configuration says about duplicates: rules of routes, the memory, and what would be no guard."""

from __future__ import annotations

from importlib.machinery import PathFinder

import pytest

from proxy.config.describe import describe
from proxy.core.delivery import DuplicateRule
from proxy.core.policy import BodyMode, Route
from tests.config.loading import ENDS, GITHUB, Workplace

REFUSE = 'duplicates = "refuse-delivered"\n'


def text(route: str, top: str = "", more: str = "") -> str:
    return f"{ENDS}{top}[route.a]\n{route}{more}"


def rule(place: Workplace, route: str) -> DuplicateRule:
    found = one(place, route).duplicates
    assert found is not None
    return found


def one(place: Workplace, route: str) -> Route:
    return place.routes(text(route))["a"]


class TestRule:
    def test_off_unless_it_is_asked_for(self, place: Workplace) -> None:
        assert one(place, GITHUB).duplicates is None
        assert one(place, GITHUB + 'duplicates = "off"\n').duplicates is None

    def test_what_was_delivered(self, place: Workplace) -> None:
        assert rule(place, GITHUB + REFUSE) == DuplicateRule(
            remembers=True, window_s=86400.0, patience_s=9.0, hold_s=92.0, by_id=True, by_signature=True
        )

    def test_only_what_is_in_flight(self, place: Workplace) -> None:
        assert not rule(place, GITHUB + 'duplicates = "in-flight"\n').remembers

    @pytest.mark.parametrize(("by", "expected"), [("id", (True, False)), ("signature", (False, True))])
    def test_by_what(self, place: Workplace, by: str, expected: tuple[bool, bool]) -> None:
        found = rule(place, GITHUB + REFUSE + f'duplicates_by = "{by}"\nduplicates_window = "7d"\n')
        assert (found.by_id, found.by_signature) == expected
        assert found.window_s == 7 * 86400.0

    def test_times_of_the_sender_and_of_the_route(self, place: Workplace) -> None:
        slack = 'provider = "slack"\nsecrets = "file:github.secret"\n' + REFUSE
        assert rule(place, slack).patience_s == 2.0
        short = rule(place, GITHUB + REFUSE + 'request_timeout = "4s"\n')
        assert (short.patience_s, short.hold_s) == (3.0, 6.0)
        assert rule(place, GITHUB + REFUSE + 'request_timeout = "500ms"\n').patience_s == 0.0

    def test_who_only_observes_makes_nobody_wait(self, place: Workplace) -> None:
        assert rule(place, GITHUB + REFUSE + 'mode = "observe"\n').patience_s == 0.0

    def test_by_flags(self, place: Workplace) -> None:
        words = ["--listen", ":8443", "--upstream", ":8000", "--provider", "github"]
        words += ["--secret-file", str(place.folder / "github.secret"), "--duplicates", "refuse-delivered"]
        words += [
            "--duplicates-store",
            "sqlite",
            "--duplicates-path",
            "/var/lib/x.sqlite3",
            "--duplicates-window",
            "2h",
        ]
        words[1:4:2] = ["127.0.0.1:8443", "127.0.0.1:8000"]
        loaded = place.load(None, *words)
        assert loaded.policy.routes[0].duplicates is not None
        assert loaded.policy.routes[0].duplicates.window_s == 7200.0
        assert loaded.settings.duplicates.path == "/var/lib/x.sqlite3"


class TestBody:
    """Where nothing is signed a body goes freely, but not the end of a duplicate."""

    TOKEN = 'provider = "gitlab"\nsecrets = "file:token"\n'

    def test_the_end_is_withheld(self, place: Workplace) -> None:
        assert one(place, self.TOKEN).body is BodyMode.FREE
        assert one(place, self.TOKEN + REFUSE).body is BodyMode.TAIL
        assert one(place, self.TOKEN + REFUSE + 'body = "hold"\n').body is BodyMode.HOLD
        assert one(place, GITHUB + REFUSE).body is BodyMode.TAIL

    def test_free_is_a_problem(self, place: Workplace) -> None:
        [problem] = place.problems(text(self.TOKEN + REFUSE + 'body = "free"\n'))
        assert problem.where.endswith("route.a.body")
        assert "duplicate" in problem.what


class TestProblems:
    @pytest.mark.parametrize("key", ['duplicates_by = "id"', 'duplicates_window = "2h"'])
    def test_what_has_no_effect(self, place: Workplace, key: str) -> None:
        [problem] = place.problems(text(GITHUB + key + "\n"))
        assert "no effect" in problem.what

    def test_a_misspelt_word_is_told_once(self, place: Workplace) -> None:
        [problem] = place.problems(text(GITHUB + 'duplicates = "refuse-deliverd"\nduplicates_by = "id"\n'))
        assert problem.mend == "did you mean 'refuse-delivered'?"

    @pytest.mark.parametrize(
        ("route", "word"),
        [
            ('token = { header = "X-Token", secrets = ["file:token"] }\n', "neither a signature nor an id"),
            ('allow = "192.0.2.0/24"\n', "neither a signature nor an id"),
            ('provider = "telegram"\nsecrets = "file:token"\n', "neither"),
            ('provider = "monday"\nsecrets = "file:token"\n', "neither"),
            ('provider = "microsoft_graph"\nsecrets = "file:token"\n', "neither"),
            ('provider = "stripe"\nsecrets = "file:token"\nduplicates_by = "id"\n', "no header with the id"),
            ('provider = "gitlab"\nsecrets = "file:token"\nduplicates_by = "signature"\n', "no signature"),
        ],
    )
    def test_nothing_to_tell_it_by(self, place: Workplace, route: str, word: str) -> None:
        [problem] = place.problems(text(route + REFUSE))
        assert word in problem.what

    def test_a_provider_that_is_not_known_is_told_alone(self, place: Workplace) -> None:
        [problem] = place.problems(text('provider = "githup"\nsecrets = "file:token"\n' + REFUSE))
        assert "githup" in problem.what

    @pytest.mark.parametrize("window", ["9m", "599s"])
    def test_a_memory_shorter_than_signatures_stay_fresh(self, place: Workplace, window: str) -> None:
        slack = 'provider = "slack"\nsecrets = "file:github.secret"\n'
        [problem] = place.problems(text(slack + REFUSE + f'duplicates_window = "{window}"\n'))
        assert "600s" in problem.what
        assert place.problems(text(slack + REFUSE + 'duplicates_window = "10m"\n')) == []
        assert place.problems(text(slack + f'duplicates = "in-flight"\nduplicates_window = "{window}"\n')) == []
        assert place.problems(text(GITHUB + REFUSE + 'duplicates_window = "1s"\n')) == []

    def test_also_by_a_tolerance_of_ones_own(self, place: Workplace) -> None:
        stripe = 'provider = "stripe"\nsecrets = "file:github.secret"\ntolerance = "1d"\n'
        [problem] = place.problems(text(stripe + REFUSE))
        assert "2d" in problem.mend


class TestMemory:
    def test_of_the_process_unless_it_is_said(self, place: Workplace) -> None:
        settings = place.load(text(GITHUB + REFUSE)).settings.duplicates
        assert (settings.store, settings.path, settings.url, settings.refuses) == ("memory", None, None, False)
        assert settings.max_entries == 100_000

    def test_a_file(self, place: Workplace) -> None:
        table = '[duplicates]\nstore = "sqlite"\nmax_entries = 500\non_error = "refuse"\n'
        settings = place.load(text(GITHUB + REFUSE, 'state_dir = "state"\n', table)).settings.duplicates
        assert settings.path == f"{place.folder}/state/duplicates.sqlite3"
        assert (settings.max_entries, settings.refuses) == (500, True)
        settings = place.load(text(GITHUB + REFUSE, "", table + 'path = "x.db"\n')).settings.duplicates
        assert settings.path == f"{place.folder}/x.db"

    def test_a_file_without_a_name(self, place: Workplace) -> None:
        [problem] = place.problems(text(GITHUB + REFUSE, "", '[duplicates]\nstore = "sqlite"\n'))
        assert "not named" in problem.what

    def test_a_redis(self, place: Workplace) -> None:
        table = '[duplicates]\nstore = "redis"\nurl = "%s"\n'
        settings = place.load(text(GITHUB + REFUSE, "", table % "redis://cache:6379/0")).settings.duplicates
        assert settings.url == "redis://cache:6379/0"
        place.secret("redis.url", b"rediss://:hunter2@cache:6379/0\n")
        loaded = place.load(text(GITHUB + REFUSE, "", table % "file:redis.url"))
        assert loaded.settings.duplicates.url == "rediss://:hunter2@cache:6379/0"
        assert "hunter2" not in repr(loaded)

    @pytest.mark.parametrize(
        ("url", "word"),
        [
            ("", "not said"),
            ('url = "redis://:hunter2@cache"', "has a password"),
            ('url = "file:redis.url"', "not the URL of a Redis"),
            ('url = "env:NOWHERE"', "no environment variable"),
            ('url = "cache:6379"', "not the URL of a Redis"),
        ],
    )
    def test_a_redis_that_is_nowhere(self, place: Workplace, url: str, word: str) -> None:
        place.secret("redis.url", b"hunter2")
        [problem] = place.problems(text(GITHUB + REFUSE, "", f'[duplicates]\nstore = "redis"\n{url}\n'))
        assert word in problem.what
        assert "hunter2" not in str(problem)

    def test_without_the_client_for_redis(self, place: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(PathFinder, "find_spec", lambda name: None)
        table = '[duplicates]\nstore = "redis"\nurl = "redis://cache"\n'
        [problem] = place.problems(text(GITHUB + REFUSE, "", table))
        assert problem.mend.endswith("-m pip install redis")

    @pytest.mark.parametrize("key", ['path = "/x"', 'url = "redis://cache"'])
    def test_keys_of_another_store(self, place: Workplace, key: str) -> None:
        [problem] = place.problems(text(GITHUB + REFUSE, "", f"[duplicates]\n{key}\n"))
        assert "no effect" in problem.what

    def test_workers_must_share_it(self, place: Workplace) -> None:
        [problem] = place.problems(text(GITHUB + REFUSE, "workers = 2\n"))
        assert problem.where.endswith("workers")
        assert "sqlite" in problem.mend
        assert place.problems(text(GITHUB, "workers = 2\n")) == []
        table = '[duplicates]\nstore = "sqlite"\npath = "x"\n'
        assert place.problems(text(GITHUB + REFUSE, "workers = 2\n", table)) == []

    def test_a_memory_that_nobody_asks(self, place: Workplace) -> None:
        table = '[duplicates]\nstore = "sqlite"\npath = "x"\n'
        warnings = place.load(text(GITHUB, "", table)).settings.warnings
        assert any("no route looks for duplicates" in warning for warning in warnings)


class TestDescribed:
    def test_what_is_done_and_where_it_is_remembered(self, place: Workplace) -> None:
        said = describe(place.load(text(GITHUB + REFUSE)))
        assert "Duplicates: answered as delivered for 1d, told by id or signature." in said
        assert "Remembers deliveries in this process, until it ends." in said

    def test_a_file_and_flight_only(self, place: Workplace) -> None:
        table = '[duplicates]\nstore = "sqlite"\npath = "/x"\n'
        flight = 'duplicates = "in-flight"\nduplicates_by = "id"\n'
        said = describe(place.load(text(GITHUB + flight, "", table)))
        assert "Duplicates: stopped while in flight only, told by id." in said
        assert "in /x; while it cannot be asked, deliveries go by this process." in said

    def test_a_redis_is_not_named(self, place: Workplace) -> None:
        table = '[duplicates]\nstore = "redis"\nurl = "redis://cache"\non_error = "refuse"\n'
        said = describe(place.load(text(GITHUB + REFUSE, "", table)))
        assert "in a Redis; while it cannot be asked, deliveries are refused." in said
        assert "cache" not in said

    def test_nothing_where_nobody_looks(self, place: Workplace) -> None:
        assert "uplicate" not in describe(place.load(text(GITHUB)))
