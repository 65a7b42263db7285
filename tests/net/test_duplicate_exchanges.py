"""Duplicates in conversation: who is answered what, and what the upstream gets to see."""

from __future__ import annotations

import pytest

from proxy.core.addresses import AddressSet
from proxy.core.delivery import DuplicateRule, TurnRule
from proxy.core.policy import BodyMode
from proxy.core.signing.proof import TokenCheck, TokenKind
from proxy.core.signing.scheme import Secret
from proxy.reasons import Reason
from tests.net.dialogue import OK, World, forged, request, route, signed

RULE = DuplicateRule(remembers=True, window_s=3600.0, patience_s=9.0, hold_s=92.0)
FLIGHT = DuplicateRule(remembers=False, window_s=3600.0, patience_s=9.0, hold_s=92.0)
DELIVERED, IN_FLIGHT = Reason.DUPLICATE_DELIVERED, Reason.DUPLICATE_IN_FLIGHT
TOKEN = TokenCheck(TokenKind.HEADER, b"x-token", (Secret("t", b"word"),))
BIG = b"x" * 200_000  # beyond the window of the dialogues' routes
CREATED = b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\nok"
FAILED = b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 2\r\n\r\nno"


def world(rule: DuplicateRule | None = RULE, **changed: object) -> World:
    return World(
        route(b"/hook", duplicates=rule, **changed),
        route(b"/hold", BodyMode.HOLD, duplicates=rule, **changed),
        route(b"/token", signed=False, token=TOKEN, duplicates=rule, **changed),
        route(b"/other", duplicates=rule, **changed),
    )


def delivery(body: bytes = b"{}", number: int = 1, **more: object) -> bytes:
    return signed(body, extra=b"X-GitHub-Delivery: d-%d\r\n" % number, **more)


def deliver(stage: World, data: bytes, answer: bytes = OK) -> None:
    """The whole way, on a connection of its own."""
    sender = stage.sender()
    sender >> data
    stage.upstream << b"POST *"
    stage.upstream >> answer
    sender << answer.split(b"\r\n")[0] + b"\r\n*"


DUPLICATE = b"HTTP/1.1 %b\r\nContent-Type: text/plain*\r\nWebhook-Duplicate: delivered\r\n*duplicate_delivered *\n"


class TestDelivered:
    @pytest.mark.parametrize("path", [b"/hook", b"/hold"])
    def test_a_replay_gets_the_status_that_the_delivery_got(self, path: bytes) -> None:
        stage = world()
        deliver(stage, delivery(path=path), CREATED)
        sender = stage.sender()
        sender >> delivery(path=path)
        sender << DUPLICATE % b"201 Created"
        stage.upstream << b""
        assert stage.records[-1].status == 201
        assert stage.records[-1].verdict == "admitted"
        stage.over(Reason.DELIVERED, DELIVERED)

    @pytest.mark.parametrize("turns", [None, TurnRule(concurrency=0, pace_per_s=1.0, workers=1)], ids=["", "in turns"])
    def test_a_replay_that_begins_to_stream_and_ends_in_one_read_goes_nowhere(self, turns: TurnRule | None) -> None:
        stage = world(hold_window=1024, turns=turns)
        body = b"x" * 30_000
        deliver(stage, delivery(body))
        sender = stage.sender()
        stage.pool.connects = False
        sender.say(delivery(body)[: -len(body)], body)
        sender << DUPLICATE % b"200 OK"
        assert stage.pool.waiting == []
        stage.over(Reason.DELIVERED, DELIVERED)

    def test_no_content_stays_without_content(self) -> None:
        stage = world()
        deliver(stage, delivery(), b"HTTP/1.1 204 No Content\r\n\r\n")
        sender = stage.sender()
        sender >> delivery()
        (
            sender
            << b"HTTP/1.1 204 No Content\r\nCache-Control: no-store\r\nWebhook-Duplicate: delivered\r\nDate: *\r\n\r\n"
        )
        sender >> delivery(number=2, body=b"{2}")
        stage.upstream << b"POST *"
        stage.upstream >> OK
        sender << b"HTTP/1.1 200 OK*ok"
        stage.over(Reason.DELIVERED, DELIVERED, Reason.DELIVERED)

    @pytest.mark.parametrize(
        "again",
        [
            delivery(number=2),  # a replay under another id, which nobody signed
            signed(),  # without one
            delivery(b"{ }"),  # sent again by the provider, and signed again
        ],
        ids=["other id", "no id", "other signature"],
    )
    def test_one_of_both_is_enough(self, again: bytes) -> None:
        stage = world()
        deliver(stage, delivery())
        sender = stage.sender()
        sender >> again
        sender << DUPLICATE % b"200 OK"
        stage.over(Reason.DELIVERED, DELIVERED)

    def test_another_delivery_passes(self) -> None:
        stage = world()
        deliver(stage, delivery())
        deliver(stage, delivery(b"{2}", number=2))
        stage.over(Reason.DELIVERED, Reason.DELIVERED)

    def test_another_route_is_another_matter(self) -> None:
        stage = world()
        deliver(stage, delivery())
        deliver(stage, delivery(path=b"/other"))
        stage.over(Reason.DELIVERED, Reason.DELIVERED)

    def test_after_its_window_it_is_new(self) -> None:
        stage = world()
        deliver(stage, delivery())
        stage.later(3601.0)
        deliver(stage, delivery())
        stage.over(Reason.DELIVERED, Reason.DELIVERED)

    @pytest.mark.parametrize("answer", [FAILED, b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno"])
    def test_what_the_upstream_did_not_take_may_come_again(self, answer: bytes) -> None:
        stage = world()
        for _ in range(3):
            deliver(stage, delivery(), answer)
        deliver(stage, delivery())
        stage.over(*[Reason.DELIVERED] * 4)

    def test_what_never_reached_it_too(self) -> None:
        stage = world()
        sender = stage.sender()
        stage.pool.connects = False
        sender >> delivery()
        stage.pool.refuse()
        sender << b"HTTP/1.1 502 *upstream_unreachable *"
        stage.pool.connects = True
        deliver(stage, delivery())
        stage.over(Reason.UPSTREAM_UNREACHABLE, Reason.DELIVERED)

    def test_a_2xx_counts_though_its_content_broke_off(self) -> None:
        stage = world()
        sender = stage.sender()
        sender >> delivery()
        stage.upstream << b"POST *"
        stage.upstream >> b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nbroken"
        stage.upstream.vanish()
        sender << b"HTTP/1.1 200 OK*broken"
        other = stage.sender()
        other >> delivery()
        other << DUPLICATE % b"200 OK"
        stage.over(Reason.UPSTREAM_RESET, DELIVERED)

    def test_a_forged_delivery_claims_nothing(self) -> None:
        stage = world()
        sender = stage.sender()
        sender >> forged(extra=b"X-GitHub-Delivery: d-1\r\n")
        sender << b"HTTP/1.1 403 *signature_mismatch *"
        deliver(stage, delivery())
        stage.over(Reason.SIGNATURE_MISMATCH, Reason.DELIVERED)

    def test_off_is_off(self) -> None:
        stage = world(None)
        deliver(stage, delivery())
        deliver(stage, delivery())
        assert len(stage.site.duplicates.table) == 0
        stage.over(Reason.DELIVERED, Reason.DELIVERED)

    def test_what_changes_nothing_may_be_asked_twice(self) -> None:
        stage = world()
        for _ in range(2):
            sender = stage.sender()
            sender >> signed(b"", path=b"/hook", method=b"GET")
            stage.upstream << b"GET *"
            stage.upstream >> OK
            sender << b"HTTP/1.1 200 OK*ok"
        stage.over(Reason.DELIVERED, Reason.DELIVERED)


class TestToken:
    """Without a signature there is the id alone."""

    def plain(self, body: bytes = b"{}", number: int = 1) -> bytes:
        return request(body, path=b"/token", extra=b"X-Token: word\r\nX-GitHub-Delivery: t-%d\r\n" % number)

    def test_by_its_id(self) -> None:
        stage = world()
        deliver(stage, self.plain())
        sender = stage.sender()
        sender >> self.plain(b"{ }")
        sender << DUPLICATE % b"200 OK"
        deliver(stage, self.plain(number=2))
        stage.over(Reason.DELIVERED, DELIVERED, Reason.DELIVERED)

    def test_without_anything_to_tell_it_by_it_passes(self) -> None:
        stage = world()
        for _ in range(2):
            deliver(stage, request(b"{}", path=b"/token", extra=b"X-Token: word\r\n"))
        stage.over(Reason.DELIVERED, Reason.DELIVERED)

    def test_no_end_of_a_duplicate_reaches_the_upstream_though_nothing_is_signed(self) -> None:
        stage = world()
        deliver(stage, self.plain(BIG))
        sender = stage.sender()
        sender >> self.plain(BIG)
        sender << DUPLICATE % b"200 OK"
        assert len(stage.upstream.hear()) < len(BIG)
        assert stage.upstream.saw == "reset"
        stage.over(Reason.DELIVERED, DELIVERED)


class TestStreaming:
    def test_a_duplicate_that_streams_is_aborted_before_its_end(self) -> None:
        stage = world()
        deliver(stage, delivery(BIG))
        sender = stage.sender()
        sender >> delivery(BIG)
        sender << DUPLICATE % b"200 OK"
        assert 0 < len(stage.upstream.hear()) < len(BIG)
        assert stage.upstream.saw == "reset"
        stage.over(Reason.DELIVERED, DELIVERED)

    def test_an_answer_before_the_end_waits_until_the_delivery_is_known_to_be_new(self) -> None:
        stage = world()
        first = stage.sender()
        first >> delivery()
        stage.upstream << b"POST *"
        app = stage.upstream
        other = stage.sender()
        other >> delivery(BIG)
        early = stage.upstream
        assert early is not app
        early >> CREATED
        other << b""
        app >> OK
        first << b"HTTP/1.1 200 OK*ok"
        other << DUPLICATE % b"200 OK"
        stage.over(Reason.DELIVERED, DELIVERED)

    def test_an_early_2xx_counts_once_the_body_is_proved(self) -> None:
        stage = world()
        sender = stage.sender()
        data = delivery(BIG)
        sender >> data[:-1]
        stage.upstream >> CREATED
        sender << b""
        sender >> data[-1:]
        sender << b"HTTP/1.1 201 Created*ok"
        other = stage.sender()
        other >> delivery(BIG)
        other << DUPLICATE % b"201 Created"
        stage.over(Reason.DELIVERED, DELIVERED)


class TestInFlight:
    def test_it_waits_for_the_answer_of_the_first(self) -> None:
        stage = world()
        first, other = stage.sender(), stage.sender()
        first >> delivery()
        other >> delivery()
        other << b""
        stage.later(8.0)
        other << b""
        stage.upstream >> CREATED
        first << b"HTTP/1.1 201 Created*ok"
        other << DUPLICATE % b"201 Created"
        assert len(stage.upstreams) == 1
        stage.over(Reason.DELIVERED, DELIVERED)

    def test_no_longer_than_its_own_sender_does(self) -> None:
        stage = world()
        first, other = stage.sender(), stage.sender()
        first >> delivery()
        stage.later(5.0)
        other >> delivery()
        stage.later(8.9)
        other << b""
        stage.later(0.2)
        other << b"HTTP/1.1 409 Conflict\r\n*Webhook-Duplicate: in-flight\r\nRetry-After: 5\r\n*duplicate_in_flight *\n"
        stage.upstream >> OK
        first << b"HTTP/1.1 200 OK*ok"
        stage.over(IN_FLIGHT, Reason.DELIVERED)
        assert stage.records[0].verdict == "refused"

    def test_if_the_first_fails_it_is_delivered_instead(self) -> None:
        stage = world()
        first, other = stage.sender(), stage.sender()
        first >> delivery()
        other >> delivery()
        stage.upstream << b"POST *"
        stage.upstream >> FAILED
        first << b"HTTP/1.1 500 *no"
        stage.upstream << b"POST *"
        stage.upstream >> OK
        other << b"HTTP/1.1 200 OK*ok"
        stage.over(Reason.DELIVERED, Reason.DELIVERED)

    def test_many_that_wait_reach_the_upstream_one_by_one(self) -> None:
        stage = world()
        senders = [stage.sender() for _ in range(5)]
        for sender in senders:
            sender >> delivery()
        for answer in (FAILED, FAILED, OK):
            stage.upstream << b"POST *"
            stage.upstream >> answer
        stage.upstream << b""
        for sender, start in zip(senders, [b"500", b"500", b"200", b"200", b"200"], strict=True):
            sender << b"HTTP/1.1 %b *" % start
        stage.over(*[Reason.DELIVERED] * 3, DELIVERED, DELIVERED)

    def test_who_hangs_up_while_waiting_leaves_no_trace(self) -> None:
        stage = world()
        first, other = stage.sender(), stage.sender()
        first >> delivery()
        other >> delivery()
        other.vanish()
        stage.upstream >> OK
        first << b"HTTP/1.1 200 OK*ok"
        assert not stage.site.duplicates._waiting
        stage.over(Reason.SENDER_GONE, Reason.DELIVERED)

    def test_the_upstream_of_a_body_that_waits_is_not_called_late(self) -> None:
        stage = world(DuplicateRule(remembers=True, window_s=9e3, patience_s=80.0, hold_s=92.0), upstream_timeout_s=5.0)
        first = stage.sender()
        first >> request(BIG, path=b"/hook", sign=BIG, extra=b"X-GitHub-Delivery: d-1\r\n")[:-1]
        holder = stage.sender()
        holder >> delivery()
        app = stage.upstream
        first >> b"x"
        stage.later(4.0)
        app >> OK
        first << DUPLICATE % b"200 OK"
        stage.over(Reason.DELIVERED, DELIVERED)

    def test_where_only_flight_counts_a_redelivery_passes(self) -> None:
        """GitHub's "Redeliver" sends the same id and the same bytes again, because somebody wants it."""
        stage = world(FLIGHT)
        first, other = stage.sender(), stage.sender()
        first >> delivery()
        other >> delivery()
        stage.upstream << b"POST *"
        stage.upstream >> OK
        first << b"HTTP/1.1 200 OK*ok"
        other << DUPLICATE % b"200 OK"
        deliver(stage, delivery())
        stage.over(Reason.DELIVERED, DELIVERED, Reason.DELIVERED)


class TestObserve:
    """A route that only observes refuses nobody, and says whom it would have refused."""

    def test_duplicates_pass_and_are_counted(self) -> None:
        stage = world(DuplicateRule(remembers=True, window_s=9e3, patience_s=0.0, hold_s=92.0), observe=True)
        deliver(stage, delivery())
        sender = stage.sender()
        sender >> delivery()
        stage.upstream << b"POST *Webhook-Verified: github*"
        other = stage.sender()
        other >> delivery(b"{2}")
        for end, app in zip((sender, other), stage.upstreams, strict=True):
            app >> OK
            end << b"HTTP/1.1 200 OK*ok"
        assert [record.observed for record in stage.records] == [None, DELIVERED, DELIVERED]
        assert [record.verdict for record in stage.records] == ["admitted", "observed", "observed"]
        stage.over(*[Reason.DELIVERED] * 3)

    def test_what_is_not_proved_claims_nothing(self) -> None:
        stage = world(observe=True)
        deliver(stage, forged(extra=b"X-GitHub-Delivery: d-1\r\n"))
        deliver(stage, delivery())
        assert [record.observed for record in stage.records] == [Reason.SIGNATURE_MISMATCH, None]
        stage.over(Reason.DELIVERED, Reason.DELIVERED)


def test_the_same_request_id_from_a_trusted_proxy_does_not_make_two_deliveries_one_owner() -> None:
    stage = World(route(duplicates=RULE), trusted_proxies=AddressSet.parse(["192.0.2.1"]))
    first, second = stage.sender(), stage.sender()
    data = signed(extra=b"X-GitHub-Delivery: d-1\r\nX-Request-Id: chosen\r\n")
    first >> data
    stage.upstream << b"POST *X-Request-Id: chosen\r\n*"
    second >> data
    assert len(stage.upstreams) == 1
    stage.upstream >> OK
    first << b"HTTP/1.1 200 OK*ok"
    second << DUPLICATE % b"200 OK"
    stage.over(Reason.DELIVERED, DELIVERED)
