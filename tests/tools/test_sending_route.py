"""``send --config``: secret, URL and scheme are those of a route, and what is not clear is asked for by name."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from proxy.core.request_head import read_request_head
from proxy.errors import ConfigError, FlagError
from proxy.net.clock import Clock
from proxy.tools import send
from proxy.tools.explain import main as explain
from proxy.tools.sending import RouteTarget, read_route
from tests.policies import HEAD_LIMITS

SECRET = "a secret of the tests of send"
WORD = "a-word:that+is~in.a=path"
TOKEN = "a token of the tests of send"
TOP = 'listen = ["127.0.0.1:8080"]\nupstream = "http://127.0.0.1:9"\n'
GITHUB = '[route.code]\npath = "/code"\nprovider = "github"\nsecrets = ["file:secret"]\n'
LEGACY = '[route.legacy]\npath = "/old"\ntoken = { query = "key", secrets = ["file:token"] }\n'
ACME = """
[scheme.acme]
header = "X-Acme-Signature"
prefix = "v1="
signed = "{timestamp}.{body}"
timestamp = { header = "X-Acme-Time" }
event_header = "X-Acme-Event"
[route.acme]
path = "/acme"
provider = "acme"
secrets = ["file:secret"]
"""
BOTH = """
[route.both]
path = "/both"
provider = "gitlab_signing_token"
secrets = ["file:whsec"]
token = { header = "X-Own", secrets = ["file:token"] }
"""
IN_PATH = '[route.in_path]\npath = "/in/{token}"\ntoken = { path = true, secrets = ["file:word"] }\n'
PUBLIC = 'public_url = "https://hooks.example.com/code"\n'
Write = Callable[[str], str]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    for name, text in {"secret": SECRET, "token": TOKEN, "whsec": "whsec_" + "A" * 32, "word": WORD}.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o600)

    def written(text: str) -> str:
        path = tmp_path / "hookward.toml"
        path.write_text(text)
        return str(path)

    return written


def saved(config: str, *words: str) -> tuple[str, dict[str, str], bytes]:
    """Target, fields and body of what would be sent."""
    path = Path(config).with_name("saved.http")
    path.unlink(missing_ok=True)
    assert send.main([*words, "--config", config, "--save", str(path)]) == 0
    data = path.read_bytes()
    head, consumed = read_request_head(data, HEAD_LIMITS)
    return head.target.decode(), {k.decode(): v.decode("latin-1") for k, v in head.values.items()}, data[consumed:]


ADMITTED = [
    (GITHUB, ["github"]),
    (GITHUB, ["github", "ping"]),
    (GITHUB, ["GitHub", "push", "--form"]),
    (GITHUB, []),
    (GITHUB, ["--route", "code"]),
    (GITHUB, ["ping", "--route", "code"]),
    (GITHUB, ["github", "ping", "--route", "code"]),
    (GITHUB + LEGACY, ["--route", "legacy"]),
    (GITHUB + LEGACY, ["github"]),
    (IN_PATH, []),
    (GITHUB.replace("/code", "/code/{token}") + 'token = { path = true, secrets = ["file:word"] }\n', ["github"]),
    (ACME, ["acme"]),
    (ACME, ["acme", "--form"]),
    (ACME, ["acme", "created"]),
    (BOTH, ["--route", "both"]),
    (BOTH, ["gitlab-signing-token", "merge_request"]),
    (GITHUB + 'events = ["issues"]\n', []),
    (ACME + 'events = ["no.sample"]\n', []),
    (GITHUB.replace('"github"', '"heroku"') + 'where = { "type" = ["test"] }\n', ["heroku"]),
    (GITHUB.replace('"github"', '"hubspot_v3"') + PUBLIC + 'events = ["deal.deletion", "x.y"]\n', []),
    (GITHUB.replace('"github"', '"checkout_com"') + 'events = ["payment_paid"]\n', []),
    (
        GITHUB.replace('"github"', '"checkout_com"') + 'events = ["a", "payment_paid"]\n',
        ["checkout_com", "payment_paid"],
    ),
    (ACME.replace('event_header = "X-Acme-Event"', 'event_place = "a.b[].c"') + 'events = ["placed"]\n', []),
    ('[route.net]\npath = "/net"\nallow = ["127.0.0.0/8"]\n', ["--route", "net"]),
]


@pytest.mark.parametrize(
    ("text", "words"), ADMITTED, ids=[f"{' '.join(words)}-{n}" for n, (_, words) in enumerate(ADMITTED)]
)
def test_what_a_route_takes_is_sent_to_it(
    text: str, words: list[str], write: Write, capsys: pytest.CaptureFixture[str]
):
    config = write(TOP + text)
    path = Path(config).with_name("saved.http")
    assert send.main([*words, "--config", config, "--save", str(path)]) == 0
    assert explain([str(path), "--config", config, "--from", "127.0.0.1"]) == 0, capsys.readouterr().out
    assert SECRET not in capsys.readouterr().out


def test_events_and_tokens_are_those_of_the_route(write: Write):
    _, fields, body = saved(write(TOP + ACME + 'events = ["closed", "opened"]\n'))
    assert fields["x-acme-event"] == "closed"
    assert fields["x-acme-signature"].startswith("v1=")
    target, _, _ = saved(write(TOP + LEGACY))
    assert target == "/old?key=a%20token%20of%20the%20tests%20of%20send"
    _, fields, _ = saved(write(TOP + BOTH))
    assert fields["x-own"] == TOKEN
    assert body


def test_a_token_in_the_path_is_sent_and_not_shown(write: Write, capsys: pytest.CaptureFixture[str]):
    target, _, _ = saved(write(TOP + IN_PATH))
    assert target == f"/in/{WORD}"
    target, _, _ = saved(write(TOP + IN_PATH), "--url", "http://127.0.0.1:1/in/{token}/more?x=1")
    assert target == f"/in/{WORD}/more?x=1"
    assert send.main(["--config", write(TOP.replace("8080", "1") + IN_PATH)]) == 1
    captured = capsys.readouterr()
    assert captured.out.count("/in/{token}") == 3
    assert WORD not in captured.out + captured.err


def test_a_scheme_of_one_s_own_in_a_form(write: Write):
    _, fields, body = saved(write(TOP + ACME), "acme", "--form")
    assert fields["content-type"] == "application/x-www-form-urlencoded"
    assert body.startswith(b"payload=%7B%22type%22%3A%22test%22")


LISTENERS = [
    ('["127.0.0.1:8080"]', "", "http://127.0.0.1:8080/code"),
    ('["0.0.0.0:80"]', "", "http://127.0.0.1:80/code"),
    ('[":8443"]', "", "http://127.0.0.1:8443/code"),
    ('["[::]:8443"]', "", "http://[::1]:8443/code"),
    ('["unix:/run/x.sock", "192.0.2.1:81"]', "", "http://192.0.2.1:81/code"),
]


@pytest.mark.parametrize(("listen", "more", "url"), LISTENERS, ids=[url for *_, url in LISTENERS])
def test_the_url_is_that_of_the_listener(listen: str, more: str, url: str, write: Write):
    assert told(write(f'listen = {listen}\nupstream = "http://127.0.0.1:9"\n{more}{GITHUB}')).url == url


def told(config: str, route: str | None = None, provider: str | None = None, url: str | None = None) -> RouteTarget:
    return read_route(config, route, provider, {}, Clock.wall(), url=url)


def test_a_given_url_replaces_it(write: Write):
    config = write(TOP.replace("127.0.0.1:8080", "unix:/run/x.sock") + GITHUB)
    target = told(config, url="https://hooks.example.com/code")
    assert (target.url, target.certificate) == ("https://hooks.example.com/code", None)
    assert SECRET not in repr(target)


MISTAKES = [
    (TOP + GITHUB, ["--route", "cod"], "--route", "no route 'cod'.*did you mean 'code'"),
    (TOP + GITHUB, ["--route", "code", "slack", "x"], "PROVIDER", "takes the deliveries of 'github'"),
    (TOP + GITHUB, ["slack"], "PROVIDER", r"no route takes .*'slack'; there are code \(github\).*--route code"),
    (TOP + GITHUB + LEGACY, [], "--route", r"code \(github\), legacy \(token\).*--route code"),
    (TOP + GITHUB + GITHUB.replace("code", "more"), ["github"], "--route", r"code \(github\), more \(github\)"),
    (TOP.replace("8080", "0") + GITHUB, [], "--url", "the kernel chooses the port.*give --url"),
    (TOP.replace("127.0.0.1:8080", "unix:/run/x") + GITHUB, [], "--url", "no address that could be called"),
    (
        'proxy_protocol = "require"\ntrusted_proxies = ["192.0.2.1"]\n' + TOP + GITHUB,
        [],
        "--url",
        "wants a PROXY header.*of the balancer",
    ),
    (TOP + GITHUB, ["github", "pusch"], "EVENT", "did you mean 'push'"),
    (TOP + GITHUB, ["github", "--method", "post"], "--method", "in capitals"),
]


@pytest.mark.parametrize(
    ("text", "words", "where", "said"), MISTAKES, ids=[f"{m[2]}-{n}" for n, m in enumerate(MISTAKES)]
)
def test_what_is_not_clear_is_told(text: str, words: list[str], where: str, said: str, write: Write):
    with pytest.raises(FlagError) as caught:
        send.main([*words, "--config", write(text)])
    assert [problem.where for problem in caught.value.problems] == [where]
    assert re.search(said, str(caught.value), re.DOTALL)
    assert SECRET not in str(caught.value)


def test_a_wrong_configuration_is_told_as_run_tells_it(write: Write):
    with pytest.raises(ConfigError, match="unknown key"):
        send.main(["github", "--config", write(TOP + "nonsense = 1\n" + GITHUB)])


def test_a_public_key_signs_nothing(write: Write, tmp_path: Path):
    from_discord = "0" * 62 + "01"
    (tmp_path / "secret").write_text(from_discord)
    with pytest.raises(FlagError, match=r"(?s)the provider's public key, which signs nothing.*whose public half"):
        send.main(["discord", "--config", write(TOP + GITHUB.replace("github", "discord"))])


def test_a_secret_that_is_over_is_not_used(write: Write, tmp_path: Path):
    (tmp_path / "old").write_text("the old secret of the tests")
    (tmp_path / "old").chmod(0o600)
    entries = '[{ name = "old", from = "file:old", not_after = 2020-01-01 }, { name = "new", from = "file:secret" }]'
    assert told(write(TOP + GITHUB.replace('["file:secret"]', entries))).secret == SECRET.encode()
