"""``check`` and ``explain`` about the guards of docs/guards.md: in sentences, as tests of a configuration, and step by
step.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.tools import check, explain

WORD = "t0ken-of.24_characters~~"
CONFIG = """
listen = "127.0.0.1:0"
upstream = "http://127.0.0.1:8000/base"
deny = "192.0.2.66"

[route.chat]
path = "/chat/{token}"
rewrite = "/in"
token = { path = true, secrets = ["file:word"] }
content_types = ["application/json"]
where = { "action" = ["opened", 3], "repository.full_name" = "org/*" }

[route.admin]
path = "/in/admin"
open = true
allow = ["192.0.2.0/24"]
"""
GOOD = '{"action": "opened", "repository": {"full_name": "org/a"}}'
#: (name, target, type, body, sender, what comes of it)
TESTS = [
    ("good", f"/chat/{WORD}/a?b=c", "application/json", GOOD, "192.0.2.1", "admitted"),
    ("denied", f"/chat/{WORD}", "application/json", GOOD, "192.0.2.66", "address_refused"),
    ("type", f"/chat/{WORD}", "text/plain", GOOD, "192.0.2.1", "content_type_refused"),
    ("guess", f"/chat/{WORD[:-1]}/{WORD}", "application/json", GOOD, "192.0.2.1", "token_mismatch"),
    ("elsewhere", f"/chat/{WORD}/admin", "application/json", GOOD, "192.0.2.1", "path_not_matched"),
    ("unwanted", f"/chat/{WORD}", "application/json", GOOD.replace("org", "other"), "192.0.2.1", "filtered"),
    ("doubled", f"/chat/{WORD}", "application/json", '{"action": 3, "action": 4}', "192.0.2.1", "payload_undecided"),
]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / "word").write_text(WORD)
    (tmp_path / "word").chmod(0o600)
    text = CONFIG
    for name, target, kind, body, sender, expected in TESTS:
        head = f"POST {target} HTTP/1.1\r\nHost: h\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
        (tmp_path / f"{name}.http").write_bytes((head + body).encode())
        text += f'[[test]]\nfile = "{name}.http"\nfrom = "{sender}"\nexpect = "{expected}"\n'
    path = tmp_path / "hookward.toml"
    path.write_text(text)
    return path


def test_check_says_what_they_mean_and_tries_the_tests(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check.main(["-c", str(config)]) == 0
    said = capsys.readouterr()
    for sentence in (
        "Route chat: POST /chat/{token} and below, to http://127.0.0.1:8000.",
        "May call: every address, but not 192.0.2.66.",
        "Proof: token (path behind /chat/, which is then removed), with the secret token-1.",
        "Content types: application/json; others are refused.",
        "Passed on: action is 'opened' or 3; repository.full_name is 'org/*'. Others are answered 200;",
        "There its path is /base/in, without the token; a signed URL is the one that came.",
        *(f"{name}.http: {expected}" for name, *_, expected in TESTS),
    ):
        assert sentence in said.out
    assert WORD not in said.out + said.err


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("good", ("POST /chat/{token}/a, 3 fields", "content type", "upstream path", "/base/in/a", "it is passed on")),
        ("denied", ("address_refused",)),
        ("type", ("content type", "content_type_refused")),
        ("guess", ("POST /chat/{token}, 3 fields", "token_mismatch")),
        ("elsewhere", ("POST /chat/{token}/admin", "path_not_matched")),
        ("unwanted", ("repository.full_name is not what `where` names", "filtered: taken by the route chat")),
        ("doubled", ("can be read in one way alone", "payload_undecided")),
    ],
)
def test_explain_shows_each_step(
    config: Path, name: str, said: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    sender = next(row[4] for row in TESTS if row[0] == name)
    file = str(config.with_name(f"{name}.http"))
    assert explain.main([file, "-c", str(config), "--from", sender]) == (0 if name == "good" else 1)
    out = capsys.readouterr().out
    assert [part for part in said if part not in out] == []
    assert WORD not in out
