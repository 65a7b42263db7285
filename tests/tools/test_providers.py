"""The list of providers is the catalogue."""

from __future__ import annotations

import json
import tomllib

import pytest

from proxy.core.schemes import PROVIDERS
from proxy.errors import FlagError
from proxy.tools.providers import ROW, main, provider_named, row_of

META = {"facebook_graph_api", "facebook_messenger", "instagram", "whatsapp"}


def test_the_table_has_every_provider_once_in_80_columns(capsys: pytest.CaptureFixture[str]):
    assert main([]) == 0
    head, *rows = capsys.readouterr().out.splitlines()
    assert head.split() == ["PROVIDER", "CALLED", "SECRET", "PROVES"]
    assert [row.split()[0] for row in rows] == list(PROVIDERS)
    assert all(row.isascii() and row.isprintable() and len(row) <= 80 for row in rows)


@pytest.mark.parametrize(
    ("slug", "secret", "proves"),
    [
        ("github", "yours", "body"),
        ("stripe", "theirs", "body, time"),
        ("twilio", "theirs", "body, URL"),
        ("discord", "public key", "body, time"),
        ("gitlab", "yours", "sender alone"),
        ("mailgun", "theirs", "fields, time"),
        ("livekit", "theirs", "body, time"),
        ("monday", "theirs", "time"),
    ],
)
def test_who_makes_the_secret_and_what_it_proves(slug: str, secret: str, proves: str):
    row = row_of(PROVIDERS[slug])
    assert (row.secret, row.proves) == (secret, proves)


def test_json_has_all_that_is_known(capsys: pytest.CaptureFixture[str]):
    assert main(["--json"]) == 0
    rows = {row["provider"]: row for row in json.loads(capsys.readouterr().out)}
    assert set(rows) == set(PROVIDERS)
    assert all(tuple(row) == ROW for row in rows.values())
    assert rows["github"]["header"] == "x-hub-signature-256"
    assert rows["github"]["algorithm"] == "HMAC-SHA256 hex"
    assert rows["github"]["signed"] == "{body}"
    assert "push" in rows["github"]["events"]
    assert [rows[name]["event"] for name in ("github", "stripe", "svix")] == [
        "x-github-event",
        "type (in the payload)",
        "-",
    ]
    assert rows["slack"]["window"] == "300 s"
    assert rows["slack"]["handshake"] == "signed POST type=url_verification challenge="
    assert rows["github"]["handshake"] == "-"
    assert rows["docusign"]["header"].endswith("x-docusign-signature-100")
    assert rows["gitlab"]["algorithm"] == "token"


@pytest.mark.parametrize(
    ("words", "slugs"),
    [
        (["data center"], {"bitbucket_dc", "bitbucket_dc_basic"}),
        (["Hygraph"], {"graphcms"}),
        (["git-lab"], set()),
        (["gitlab-s"], {"gitlab_signing_token"}),
        (["X-Hub-Signature-25"], {"github"} | META),
        (["teams", "sla"], {"microsoft_teams", "slack"}),
    ],
)
def test_titles_and_names_are_searched(words: list[str], slugs: set[str], capsys: pytest.CaptureFixture[str]):
    assert main([*words, "--json"]) == (0 if slugs else 1)
    out = capsys.readouterr().out
    assert {row["provider"] for row in json.loads(out or "[]")} == slugs


@pytest.mark.parametrize("slug", PROVIDERS)
def test_each_has_a_page_with_the_route_that_it_needs(slug: str, capsys: pytest.CaptureFixture[str]):
    assert main([slug]) == 0
    text = capsys.readouterr().out
    assert text.startswith(f"{slug}: {PROVIDERS[slug].title}\n")
    lines = text.splitlines()
    assert all(len(line) <= 80 or "https://" in line for line in lines)
    route = tomllib.loads(text[text.index("    [route") :])
    assert route["route"][slug]["provider"] == slug


def test_words_choose(capsys: pytest.CaptureFixture[str]):
    assert main(["git-lab", "SLACK", "--json"]) == 0
    assert {row["provider"] for row in json.loads(capsys.readouterr().out)} == {s for s in PROVIDERS if "slack" in s}


def test_what_one_should_know_of_those_that_were_asked_for(capsys: pytest.CaptureFixture[str]):
    for slug in ("wise", "ebay", "paypal"):
        assert main([slug]) == 0
        assert PROVIDERS[slug].note in capsys.readouterr().out.replace("\n", " ")
        assert "signs for all" in PROVIDERS[slug].note
    assert main([]) == 0
    assert PROVIDERS["wise"].note not in capsys.readouterr().out


def test_a_word_that_fits_nothing_is_told(capsys: pytest.CaptureFixture[str]):
    assert main(["no-such-provider"]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "no-such-provider" in captured.err


def test_bad_flags():
    with pytest.raises(SystemExit) as ended:
        main(["--yaml"])
    assert ended.value.code == 64


@pytest.mark.parametrize(
    ("name", "said"),
    [("githob", "'github'"), ("Standard-Webhook", "'standard_webhooks'"), ("zzzzzz", "hookward providers")],
)
def test_an_unknown_name_is_answered_with_what_was_probably_meant(name: str, said: str):
    assert provider_named("GitHub") is PROVIDERS["github"]
    with pytest.raises(FlagError, match=said):
        provider_named(name)
