"""The copies of a route, as they are written."""

from __future__ import annotations

import pytest

from proxy.config.describe import describe
from proxy.core.delivery import Deliver
from proxy.core.policy import BodyMode
from tests.config.loading import ENDS, KEEPER, Workplace

OWN = '{ url = "http://a", secret = "file:github.secret" }'
ROUTE = f'state_dir = "state"\n{ENDS}[route.hook]\n'
BASIC = f'{ROUTE}token = {{ basic = true, secrets = ["file:basic"] }}\n'
IN_PATH = f'{ROUTE}path = "/in/{{token}}"\ntoken = {{ path = true, secrets = ["file:token"] }}\n'


def test_none(place: Workplace) -> None:
    route = place.routes(f"{KEEPER}copies = []\n")["hook"]
    assert (route.copies, route.delivery, route.body) == ((), None, BodyMode.TAIL)


def test_a_list_of_urls(place: Workplace) -> None:
    text = f'{KEEPER}concurrency = 9\ncopies = ["http://staging:8000", "https://other", "unix:/run/a.sock"]\n'
    route = place.routes(text)["hook"]
    assert route.body is BodyMode.HOLD
    assert route.delivery is not None
    assert not route.delivery.keeps
    assert [one.name for one in route.copies] == [
        "hook@staging:8000", "hook@https://other:443", "hook@unix:/run/a.sock",
    ]  # fmt: skip
    for copy in route.copies:
        assert copy.delivery is not None
        assert (copy.delivery.deliver, copy.delivery.concurrency, copy.delivery.resign) == (Deliver.QUEUE, 9, False)
        assert copy.signature is route.signature


def test_all_of_one(place: Workplace) -> None:
    place.secret("staging", b"a secret of the staging application")
    text = (
        f'{KEEPER}deliver = "queue"\nresign = true\n'
        'copies = [{ url = "http://staging:8000/in", where = { action = ["opened"] }, secret = "file:staging" }]\n'
    )
    [copy] = place.routes(text)["hook"].copies
    assert copy.signature is not None
    assert [one.value for one in copy.signature.secrets] == [b"a secret of the staging application"]
    assert copy.delivery is not None
    assert copy.delivery.resign
    assert copy.payload is not None
    assert (copy.name, copy.base) == ("hook@staging:8000/in", b"/in")
    assert "staging application" not in repr(copy)


def test_it_is_never_signed_with_the_routes_own_secret(place: Workplace) -> None:
    [copy] = place.routes(f'{KEEPER}deliver = "queue"\nresign = true\ncopies = ["http://staging"]\n')["hook"].copies
    assert copy.delivery is not None
    assert not copy.delivery.resign


@pytest.mark.parametrize(
    ("text", "where", "what"),
    [
        (KEEPER.replace('state_dir = "state"\n', "") + 'copies = ["http://a"]\n', "copies", "no place is named"),
        (f'{KEEPER}copies = ["http://a", "http://a:80"]\n', "copies", "same place"),
        (f'{KEEPER}copies = ["http://127.0.0.1:8443"]\n', "copies", "our own listener"),
        (f'{KEEPER}copies = ["agent:build"]\n', "copies", "agent"),
        (f'{KEEPER}copies = [{{ secret = "file:github.secret" }}]\n', "copies", "does not say where"),
        (f'{KEEPER}copies = [{{ url = "http://a", secret = "file:none" }}]\n', "copies", "does not exist"),
        (f'{KEEPER}copies = [{{ url = "http://a", weight = 2 }}]\n', "weight", "unknown key"),
        (f'state_dir = "state"\n{ENDS}[route.hook]\nopen = true\ncopies = ["http://a"]\n', "copies", "nothing guards"),
        (
            f'state_dir = "state"\n{ENDS}[route.hook]\nallow = ["10.0.0.0/8"]\ncopies = [{OWN}]\n',
            "copies",
            "nothing signs",
        ),
        (f"{BASIC}copies = [{OWN}]\n", "copies", "user:password"),
        (f"{IN_PATH}copies = [{OWN}]\n", "copies", "nothing would carry"),
    ],
)
def test_what_is_no_copy(place: Workplace, text: str, where: str, what: str) -> None:
    [problem] = place.problems(text)
    assert where in problem.where
    assert what in problem.what


def test_check_speaks_of_them(place: Workplace) -> None:
    text = describe(place.load(f'{KEEPER}copies = ["http://staging:8000"]\n'))
    assert "Copies, by the queue: http://staging:8000." in text
