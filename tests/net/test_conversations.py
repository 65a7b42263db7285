"""Any conversation at all: routes, requests, cuts, answers, pauses, ends and resets on both sides, all drawn at random.

The routes are drawn as well: body modes, observe, ``hold``, ``send_proxy``, duplicates with and without a store; and so
are budgets that refuse. Whatever happens, in whatever order:

* a request has one answer at most, and one line in the log, and the two agree;
* the upstream has a request whole only where everything was proved, or only observed, and never twice; nothing that is
  not proved is vouched for; within the window, or held, it has not a byte before the verdict;
* of what is a duplicate, one is in work at a time, and none is delivered twice;
* what goes in comes out, byte by byte, and every answer is the one to its request, whole or visibly broken;
* everything that was borrowed is given back: bytes, files, connections, claims.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from hypothesis import event, given
from hypothesis import strategies as st

from proxy.core.addresses import Peer
from proxy.core.delivery import Found, keys_of
from proxy.core.exchange import Admit, decide
from proxy.core.record import ExchangeRecord
from proxy.core.recurring import plan_of
from proxy.core.request_head import read_request_head
from proxy.errors import ProtocolError
from proxy.reasons import Reason
from tests.examples import examples
from tests.net.conversation import (
    ANSWERS,
    FINE,
    MAX_BODY,
    POISON,
    TO_THE_END,
    WINDOWS,
    App,
    Asked,
    Delivery,
    Message,
    Store,
    Way,
    asked,
    deliveries,
    read_answers,
    ways,
)
from tests.net.dialogue import HIGH, End, World

PLENTY = 16 << 20
NEIGHBOUR = Peer.of("192.0.2.250")
NO_ANSWER = {Reason.SENDER_GONE, Reason.WRITE_TIMEOUT, Reason.DRAINED}


@dataclass
class Talker:
    """A sender and what it has to say."""

    end: End
    address: str
    requests: list[Asked]
    rest: bytes = field(repr=False)
    ended: bool = False
    said: int = 0
    heard: bytes = field(default=b"", repr=False)

    @property
    def begun(self) -> int:
        """Of how many requests it has said at least a byte."""
        return sum(self._end(one) - len(one.data) < self.said for one in self.requests)

    def has_said(self, one: Asked) -> bool:
        """Whether it has said all of ``one``."""
        return self.said >= self._end(one)

    @property
    def to_the_last_byte(self) -> int:
        """How much there is to say before the last byte of a request."""
        return max(1, next((self._end(one) - self.said - 1 for one in self.requests if not self.has_said(one)), 1))

    def _end(self, one: Asked) -> int:
        return sum(len(before.data) for before in self.requests[: self.requests.index(one) + 1])

    def say(self, size: int) -> None:
        piece, self.rest = self.rest[:size], self.rest[size:]
        self.said += len(piece)
        if piece:
            self.end >> piece

    @property
    def stands(self) -> bool:
        return not (self.end.transport.closing or self.ended)


@dataclass
class Play:
    """A conversation and what is known of it."""

    world: World
    talkers: list[Talker]
    rivals: list[End]
    store: Store | None
    drawn: list[Way]
    apps: list[App] = field(default_factory=list)

    @property
    def requests(self) -> dict[int, Asked]:
        return {one.number: one for talker in self.talkers for one in talker.requests}

    def all_apps(self) -> list[App]:
        self.apps += [App(end) for end in self.world.upstreams[len(self.apps) :]]
        return self.apps

    def check(self) -> None:
        """What holds at every moment."""
        for transport in self.world.transports:
            assert transport.get_write_buffer_size() <= HIGH + 4 * 64 * 1024
        assert self.world.site.budget.used <= self.world.site.budget.limit
        requests = self.requests
        for app in self.all_apps():
            for message in app.listen():
                if message.number in requests:
                    self.check_order(requests[message.number], message)
        in_work = [requests[number] for app in self.apps for number in app.in_work() if number in requests]
        claimed = [one.delivery.number for one in in_work if one.claims]
        assert len(claimed) == len(set(claimed)), "duplicates in work at once"
        for talker in self.talkers:
            news = talker.end.hear()
            talker.heard += news
            for number in re.findall(rb"\r\nX-Number: (\d+)\r\n", talker.heard) if news else []:
                one = requests[int(number)]
                assert one.free or talker.has_said(one), "an answer before the verdict"

    def check_order(self, one: Asked, message: Message) -> None:
        """What the upstream has before the sender has said all."""
        whole = any(talker.has_said(one) for talker in self.talkers if one in talker.requests)
        assert one.streams or whole, "a byte before the verdict"
        assert whole or not message.complete
        if b"\r\nWebhook-Verified" in message.head and one.delivery.way.proof == "signature":
            assert whole, "a claim before the verdict"


# -- moves


def act_talker(data: st.DataObject, play: Play) -> None:
    talker = data.draw(st.sampled_from(play.talkers), "who")
    move = data.draw(st.sampled_from(["say"] * 8 + ["slow", "some", "fast", "fast"]), "sender")
    if not talker.stands:
        return
    if move == "say" and talker.rest:
        sizes = [1, 300, 5000, 20_000, 65_536, *[len(talker.rest)] * 2, *[talker.to_the_last_byte] * 4]
        talker.say(data.draw(st.sampled_from(sizes), "size"))
    elif move != "say":
        talker.end.take({"slow": 0, "some": 1000, "fast": None}[move])


def act_app(data: st.DataObject, play: Play) -> None:
    apps = play.all_apps()
    if not apps:
        return
    app = data.draw(st.sampled_from(apps[-2:] * 3 + apps), "which upstream")
    if not app.stands:
        return
    move = data.draw(st.sampled_from(["answer"] * 4 + ["early"] * 4 + ["poison", "slow", "fast", "fast"]), "upstream")
    number = app.waiting(early=move == "early")
    if move in {"slow", "fast"}:
        app.end.take(0 if move == "slow" else None)
    elif move == "poison":
        if app.is_done:
            app.end >> POISON  # nobody has asked for it
    elif app.rest:
        app.more(data.draw(st.one_of(st.just(len(app.rest)), st.integers(1, len(app.rest))), "more"))
    elif number is not None:
        one = play.requests.get(number)
        forgetful = data.draw(st.booleans(), "forgets which method it was")
        answer = data.draw(st.sampled_from(ANSWERS), "answer")
        app.begin(number, answer, head_only=one is not None and one.method == b"HEAD" and not forgetful)
        app.more(data.draw(st.one_of(st.just(len(app.rest)), st.integers(1, len(app.rest))), "cut"))


WORLD_MOVES = ["tick", "wait", *["connect"] * 6, "refuse", "mood", "mood", "rivals", "reload", "drain", "stop"]


def act_world(data: st.DataObject, play: Play) -> None:
    world = play.world
    move = data.draw(st.sampled_from(WORLD_MOVES), "world")
    if move == "tick":
        world.later(0.5)
    elif move == "wait":
        world.later(data.draw(st.sampled_from([3.0, 20.0, 45.0]), "seconds"))
    elif move == "connect" and world.pool.waiting:
        world.pool.connect()
    elif move == "refuse" and world.pool.waiting:
        world.pool.refuse()
    elif move == "mood" and play.store is not None:
        play.store.mood = data.draw(st.sampled_from(["answers", "slow", "fails", "elsewhere", "known"]), "store")
        play.store.go_on()
    elif move == "rivals":
        for rival in play.rivals:
            rival.vanish()
    elif move == "reload":
        world.site.use(world.site.policy)
    elif move in {"drain", "stop"} and data.draw(st.integers(0, 5), "really") == 3:
        world.site.start_drain()
        if move == "stop":
            for connection in list(world.site.connections):
                connection.abort()
    world.settle()


def kill(data: st.DataObject, play: Play) -> None:
    """One end of the conversation dies, by a reset or tidily."""
    how = data.draw(st.sampled_from(["vanish", "finish"]), "how")
    standing: list[End] = [app.end for app in play.all_apps() if app.stands]
    if not standing or data.draw(st.booleans(), "the sender dies"):
        talker = data.draw(st.sampled_from(play.talkers), "which sender")
        if not talker.stands:
            return
        talker.ended = True
        standing = [talker.end]
    end = data.draw(st.sampled_from(standing), "which end")
    if how == "vanish":
        end.vanish()
    else:
        end.finish()


def come_to_an_end(play: Play) -> None:
    """Everybody says what is left to say; then time does the rest."""
    world = play.world
    for rival in play.rivals:
        rival.vanish()
    if play.store is not None:
        play.store.mood = "answers"
        play.store.go_on()
    for talker in play.talkers:
        talker.end.take(None)
    for _ in range(6):
        while world.pool.waiting:
            world.pool.connect()
            world.settle()
        for app in play.all_apps():
            app.end.take(None)
            number = app.waiting()
            if number is not None:
                app.begin(number, FINE)
            if app.rest and app.stands:
                app.more(len(app.rest))
        for talker in play.talkers:
            while talker.stands and talker.rest:
                talker.say(20_000)
    world.later(400.0)
    assert all(talker.end.transport.lost for talker in play.talkers)
    while world.pool.waiting:
        world.pool.refuse()
    world.settle()


# -- the conversation


@examples(60)
@given(st.data())
def test_any_conversation(data: st.DataObject) -> None:
    drawn = [data.draw(ways(number), "route") for number in range(data.draw(st.integers(1, 3), "routes"))]
    world = World(
        *(way.route for way in drawn),
        buffer_budget=data.draw(st.sampled_from([PLENTY] * 4 + [WINDOWS[0], 3 * WINDOWS[1]]), "budget"),
        spill_budget=data.draw(st.sampled_from([PLENTY, PLENTY, MAX_BODY // 2]), "spill"),
    )
    try:
        converse(data, world, drawn)
    finally:
        world.abandon()  # hypothesis may end an example in the middle


@examples(150)
@given(st.data())
def test_one_exchange_in_any_order(data: st.DataObject) -> None:
    """What a sender says in three pieces and its upstream in two, in every order, with a death in between or none."""
    way = data.draw(ways(0), "route")
    world = World(way.route)
    try:
        world.pool.connects = data.draw(st.sampled_from([True, True, False]), "dials succeed at once")
        delivery = Delivery(0, way, b"x" * data.draw(st.sampled_from([MAX_BODY, 30_000, 1]), "size"))
        one = data.draw(asked(0, [delivery], ["", "", "forged", "framing"]), "request")
        talker = Talker(world.sender(), "192.0.2.1", [one], one.data)
        play = Play(world, [talker], [], None, [way])
        if data.draw(st.booleans(), "a like one has come before"):
            acquaint(world, [one])
        death = data.draw(st.sampled_from(["none", "none", "kill"]), "death")
        for move in data.draw(st.permutations(["say", "say", "say", "answer", "answer", "connect", death]), "order"):
            if move == "kill":
                kill(data, play)
            elif move == "connect" and world.pool.waiting:
                world.pool.connect()
            elif move == "say" and talker.stands:
                first = talker.said < len(one.data) - 1
                sizes = [talker.to_the_last_byte] * 2 + [60_000, 300]
                talker.say(data.draw(st.sampled_from(sizes), "size") if first else 1)
            elif move == "answer":
                answer_early(data, play)
            world.settle()
            play.check()
        conclude(play)
    finally:
        world.abandon()


def answer_early(data: st.DataObject, play: Play) -> None:
    for app in play.all_apps():
        number = app.waiting(early=True)
        if number is not None and app.stands:
            app.begin(number, data.draw(st.sampled_from(ANSWERS), "answer"))
        if app.rest and app.stands:
            app.more(data.draw(st.sampled_from([len(app.rest), len(app.rest), 1 + len(app.rest) // 2]), "cut"))


def set_the_stage(data: st.DataObject, world: World, drawn: list[Way]) -> Play:
    world.pool.connects = data.draw(st.sampled_from([True, True, True, False]), "dials succeed at once")
    store = Store(world) if data.draw(st.booleans(), "a store") else None
    world.site.duplicates.store = store
    world.site.duplicates.admits_blind = data.draw(st.booleans(), "admits blind")
    what = [data.draw(deliveries(number, drawn), "delivery") for number in range(data.draw(st.integers(1, 3)))]
    talkers = []
    number = 0
    for index in range(data.draw(st.integers(1, 3), "senders")):
        address = f"192.0.2.{index + 1}"
        requests = []
        for _ in range(data.draw(st.integers(1, 3), "requests")):
            requests.append(data.draw(asked(number, what), "request"))
            number += 1
        end = world.sender(address, secure=data.draw(st.booleans(), "secure"))
        talkers.append(Talker(end, address, requests, b"".join(one.data for one in requests)))
    rivals = [world.sender(f"192.0.2.{100 + index}") for index in range(2 if world.site.budget.limit < PLENTY else 0)]
    for rival in rivals:  # they hold some of the budget, or wait for it, and go at some time
        (
            rival
            >> b"POST %b HTTP/1.1\r\nHost: h\r\nX-Token: word\r\nX-Hub-Signature-256: sha256=%b\r\n"
            % (drawn[0].path, b"0" * 64)
            + b"Content-Length: 4000\r\n\r\n"
            + b"r" * 3999
        )
    if data.draw(st.booleans(), "like ones have come before"):
        acquaint(world, [one for talker in talkers for one in talker.requests])
    return Play(world, talkers, rivals, store, drawn)


def acquaint(world: World, requests: list[Asked]) -> None:
    """Let the site know how the heads of ``requests`` look, as if like ones had come before."""
    policy = world.site.policy
    for one in requests:
        try:
            found = read_request_head(one.data, world.site.head_limits)
        except ProtocolError:
            continue
        decision = decide(found[0], NEIGHBOUR, policy, policy.table, 0.0, trusted=False) if found is not None else None
        if found is not None and isinstance(decision, Admit):
            form = world.site.heads.learn(found[0], decision.route.path)
            if form is not None:
                form.plan = plan_of(policy, decision, found[0])


def converse(data: st.DataObject, world: World, drawn: list[Way]) -> None:
    play = set_the_stage(data, world, drawn)
    steps = data.draw(st.integers(20, 70), "moves")
    deaths = data.draw(st.sets(st.integers(0, steps - 1), max_size=1), "deaths")
    for step in range(steps):
        if step in deaths:
            kill(data, play)
        who = data.draw(st.sampled_from([act_talker] * 3 + [act_app] * 3 + [act_world]), "who")
        who(data, play)
        play.check()
    conclude(play)


def conclude(play: Play) -> None:
    """Come to an end, and look at all that must hold then."""
    world = play.world
    come_to_an_end(play)
    play.check()
    check_upstreams(play)
    for talker in play.talkers:
        check_talker(play, talker)
    check_duplicates(play)
    for reason in set(world.reasons):
        event(reason.word)
    world.over(*world.reasons)


# -- what holds at the end


def check_upstreams(play: Play) -> None:
    requests, complete = play.requests, []
    for app in play.all_apps():
        messages = app.listen()
        if not messages:
            continue
        senders = {sender_of(play, message) for message in messages if message.number in requests}
        for message in messages:
            if message.number not in requests:
                continue  # a rival's
            one = requests[message.number]
            check_request(one, message)
            assert bool(app.end.preface) is one.delivery.way.told
            if message.complete:
                complete.append(one.number)
            assert len(records_of(play, one)) == 1
        if app.end.preface:
            assert len(messages) == 1, "a connection that was told one client is used for no other"
            assert not senders or bytes(map(int, min(senders).split("."))) in app.end.preface
        for message in messages[:-1]:
            before = requests.get(message.number or 0)
            assert before is None or before.method != b"HEAD", "what follows on an answer to HEAD is nobody's answer"
            assert message.number is None or app.said[message.number].status != 304
        if not messages[-1].complete:
            assert app.end.transport.end in {"reset", None}  # never a tidy end of half a request
    assert len(complete) == len(set(complete)), "nothing is sent twice"


def sender_of(play: Play, message: Message) -> str:
    return next(talker.address for talker in play.talkers if message.number in {one.number for one in talker.requests})


def check_request(one: Asked, message: Message) -> None:
    assert one.admitted or one.streams
    assert one.body.startswith(message.content)
    if message.complete:
        assert one.admitted
        assert one.body == message.content
    if b"\r\nWebhook-Verified" in message.head:
        proof = one.delivery.way.proof
        assert (proof == "signature" and one.proved and one.admitted) or (proof == "token" and one.has_token)


def records_of(play: Play, one: Asked) -> list[ExchangeRecord]:
    return [record for record in play.world.records if record.user_agent == f"n-{one.number}"]


def check_talker(play: Play, talker: Talker) -> None:
    """Each request has one answer at most and one record, in the order in which they came."""
    records = [record for record in play.world.records if record.peer == talker.address]
    answers = read_answers(talker.heard, [record.method for record in records])
    assert len(answers) <= len(records) <= talker.begun
    for one, record in zip(talker.requests, records, strict=False):
        assert record.user_agent in {f"n-{one.number}", ""}
        check_record(one, record)
    for position, answer in enumerate(answers):
        one, record = talker.requests[position], records[position]
        last = position == len(answers) - 1
        if not answer.complete:
            assert last
            assert ends_with_its_connection(answer) or talker.end.saw != "fin", "half an answer looks whole"
        if answer.complete:
            assert record.reason not in NO_ANSWER or answer.number is not None
            assert record.status == answer.status
        if answer.number is not None:
            check_relayed(play, one, record, answer, tidy=talker.end.saw == "fin")
        elif answer.complete:
            assert b"\r\nX-Request-Id: %b\r\n" % record.request_id.encode() in answer.head + b"\r\n" or (
                record.reason is Reason.DUPLICATE_DELIVERED
            )


def check_record(one: Asked, record: ExchangeRecord) -> None:
    if record.reason is Reason.DELIVERED:
        assert record.bytes_in <= len(one.body)
        assert one.admitted or one.free
    if record.verdict == "admitted" and record.user_agent:
        assert one.flaw in {"", "framing"} or one.proved


def ends_with_its_connection(answer: Message) -> bool:
    return b"Content-Length" not in answer.head and b"chunked" not in answer.head


def check_relayed(play: Play, one: Asked, record: ExchangeRecord, answer: Message, *, tidy: bool) -> None:
    assert answer.number == one.number
    # Where nothing is to be proved, an early answer may come before the framing breaks.
    assert one.admitted or one.free
    [said] = [app.said[one.number] for app in play.all_apps() if one.number in app.said]
    assert said.good or not answer.complete
    content = b"" if one.method == b"HEAD" else said.content
    assert content.startswith(answer.content)
    if answer.complete:
        assert answer.content == content
        assert record.reason is Reason.DELIVERED
        assert record.bytes_out == len(content)
    elif ends_with_its_connection(answer) and answer.head.startswith(b"HTTP/") and tidy:
        # Content that ends with the connection, ended tidily: then it is all there was.
        assert one.minor == 0
        assert answer.content == content or content == TO_THE_END


def check_duplicates(play: Play) -> None:
    """None is delivered twice, and no claim is left."""
    heard: list[Delivery] = []
    for app in play.all_apps():
        for number, said in app.said.items():
            one = play.requests.get(number)
            if one is None or one.method != b"POST" or one.delivery.way.observe:
                continue
            rule = one.delivery.way.duplicates
            [record] = records_of(play, one)
            if rule is not None and rule.remembers and record.reason is Reason.DELIVERED and 200 <= said.status < 300:
                heard.append(one.delivery)
    assert len(heard) == len({one.number for one in heard}), "delivered twice"
    for one in play.requests.values():
        way = one.delivery.way
        if way.duplicates is None:
            continue
        keys = keys_of(way.duplicates, way.route.name, way.path, f"d-{one.delivery.number}", ())
        claim = play.world.site.duplicates.table.claim(keys, "nobody", play.world.loop.now, hold_s=0.0, past=False)
        assert claim.found is Found.NEW, "a claim was not given back"
