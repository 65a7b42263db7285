"""``explain``: what it prints for saved deliveries, with a configuration and without, and its exit codes."""

from __future__ import annotations

import io
import json
import os
import sys
from pathlib import Path

import pytest

from proxy.core.schemes import PROVIDERS
from proxy.errors import ConfigError, FlagError
from proxy.net.clock import Clock
from proxy.ops import cli
from proxy.tools import explain
from proxy.tools.samples import choose
from proxy.tools.send import tampered
from proxy.tools.sending import Order
from proxy.tools.sending import compose as made

SECRET = b"a secret of the tests of explain"
URL = "https://hooks.example.com/hooks/github"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "secret").write_bytes(SECRET)
    (tmp_path / "secret").chmod(0o600)
    (tmp_path / "hookward.toml").write_text(
        'listen = "127.0.0.1:1"\nupstream = "127.0.0.1:2"\n[route.hub]\npath = "/hooks/github"\n'
        'provider = "github"\nsecrets = ["file:secret"]\nallow = ["192.0.2.0/24"]\n'
    )
    return tmp_path


def save(place: Path, slug: str = "github", tamper: str = "", now: float | None = None) -> str:
    order = Order(PROVIDERS[slug], SECRET, URL, choose(PROVIDERS[slug], None), Clock.wall() if now is None else now)
    delivery = tampered(order, tamper) if tamper else made(order)
    path = place / "delivery.http"
    path.write_bytes(delivery.wire())
    return str(path)


def flags(place: Path, slug: str = "github") -> list[str]:
    return ["--provider", slug, "--secret-file", str(place / "secret")]


def test_admitted_without_a_configuration(place: Path, capsys: pytest.CaptureFixture[str]):
    assert explain.main([save(place), *flags(place)]) == 0
    out = capsys.readouterr().out
    assert "admitted by the route default, with the secret secret-1" in out
    assert SECRET.decode() not in out
    assert "sha256=" not in out


def test_with_a_configuration_and_an_address(place: Path, capsys: pytest.CaptureFixture[str]):
    argv = [save(place), "-c", str(place / "hookward.toml")]
    assert explain.main(argv) == 0
    assert explain.main([*argv, "--from", "192.0.2.7"]) == 0
    assert explain.main([*argv, "--from", "198.51.100.7"]) == 1
    assert "address_refused" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("tamper", "word", "cause"),
    [
        ("newline", "signature_mismatch", "secret_blank_there"),
        ("reencode", "signature_mismatch", "body_reencoded"),
        ("header", "signature_missing", "unsigned"),
        ("twice", "signature_malformed", "header_repeated"),
        ("secret", "signature_mismatch", "unknown"),
    ],
)
def test_why_it_failed(place: Path, capsys: pytest.CaptureFixture[str], tamper: str, word: str, cause: str):
    assert explain.main([save(place, tamper=tamper), *flags(place)]) == 1
    out = capsys.readouterr().out
    assert f"refused: {word}" in out
    assert f"\n{cause}: " in out


@pytest.mark.parametrize("at", ["1764000010", "2025-11-24T16:00:10Z", "1764000010.5", "1764000010000"])
def test_as_of_another_time(place: Path, at: str):
    path = save(place, "slack", now=1764000000)
    assert explain.main([path, *flags(place, "slack")]) == 1
    assert explain.main([path, *flags(place, "slack"), "--at", at]) == 0


def test_a_har_file_has_its_own_time(place: Path, capsys: pytest.CaptureFixture[str]):
    order = Order(PROVIDERS["slack"], SECRET, URL, choose(PROVIDERS["slack"], None), 1772356500)
    delivery = made(order)
    headers = [{"name": name, "value": value.decode()} for name, value in delivery.fields]
    request = {"method": "POST", "url": URL, "headers": headers, "postData": {"text": delivery.body.decode()}}
    entry = {"startedDateTime": "2026-03-01T09:15:01Z", "request": request}
    (place / "d.har").write_text(json.dumps({"log": {"entries": [entry]}}))
    assert explain.main([str(place / "d.har"), *flags(place, "slack")]) == 0
    assert "as of 2026-03-01T09:15:01Z, when it was sent" in capsys.readouterr().out


def test_a_curl_command_reads_its_files_beside_it(place: Path, capsys: pytest.CaptureFixture[str]):
    delivery = made(Order(PROVIDERS["github"], SECRET, URL, choose(PROVIDERS["github"], None), 0, body=b"a\nb\n"))
    signature = dict(delivery.fields)["X-Hub-Signature-256"].decode()
    (place / "body").write_bytes(b"a\nb\n")
    (place / "c.sh").write_text(f"curl {URL} -H 'X-Hub-Signature-256: {signature}' --data-binary @body\n")
    assert explain.main([str(place / "c.sh"), *flags(place)]) == 0
    (place / "c.sh").write_text(f"curl {URL} -H 'X-Hub-Signature-256: {signature}' -d @body\n")
    assert explain.main([str(place / "c.sh"), *flags(place)]) == 1


def test_from_standard_input(place: Path, monkeypatch: pytest.MonkeyPatch):
    data = Path(save(place)).read_bytes()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
    assert explain.main(["-", *flags(place)]) == 0


def test_hostile_text_does_not_drive_the_terminal(place: Path, capsys: pytest.CaptureFixture[str]):
    path = place / "d"
    path.write_bytes(b"POST /\x1b[2J HTTP/1.1\r\nHost: h\r\n\r\n")
    with pytest.raises(FlagError):
        explain.main([str(path) + "none", *flags(place)])
    assert explain.main([str(path), *flags(place)]) == 1
    assert "\x1b" not in capsys.readouterr().out


@pytest.mark.parametrize(
    "argv",
    [
        [],
        ["/no/such/file"],
        ["FILE", "extra"],
        ["FILE", "--from", "nowhere"],
        ["FILE", "--at", "noon"],
        ["FILE", "--xyz"],
    ],
)
def test_bad_flags(place: Path, argv: list[str]):
    named = [save(place) if word == "FILE" else word for word in argv]
    with pytest.raises(FlagError):
        explain.main([*named, *flags(place)])


def test_an_unknown_flag_is_named(place: Path) -> None:
    with pytest.raises(FlagError, match="--jsn: unknown flag"):
        explain.main([str(place / "push.http"), "--jsn"])


def test_a_bad_configuration(place: Path):
    with pytest.raises(ConfigError):
        explain.main([save(place), "--provider", "github"])


def test_help(capsys: pytest.CaptureFixture[str]):
    assert explain.main(["--help"]) == 0
    out = capsys.readouterr().out
    assert "--provider" in out
    assert "--entry" in out


def hostile(place: Path, text: str, name: str = "delivery.sh") -> str:
    path = place / name
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    return str(path)


ESCAPES = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202egnp\r\x7f"


@pytest.mark.parametrize(
    "text",
    [
        f"curl {URL} --data-binary $'@{ESCAPES}'",
        f"curl {URL} -H $'X-Hub-Signature-256: {ESCAPES}' -d x",
        f"curl {URL} -X $'{ESCAPES}' -d x",
        f"curl $'http://h/{ESCAPES}' -d x",
        f"POST /hooks/github{ESCAPES} HTTP/1.1\r\nHost: h\r\nX-Hub-Signature-256: sha256={ESCAPES}\r\n\r\n",
        f"POST /hooks/github HTTP/1.1\r\nHost: h\r\nX-Hub-Signature-256: sha256={'0' * 64}\r\nX{ESCAPES}: a\r\n\r\n",
        json.dumps({"log": {"entries": [{"request": {"method": ESCAPES, "url": f"{URL}?{ESCAPES}", "headers": []}}]}}),
        ESCAPES,
    ],
)
def test_no_escape_sequence_of_a_file_reaches_the_terminal(
    place: Path, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    words = ["explain", hostile(place, text, f"a{ESCAPES[:9]}"), "-c", str(place / "hookward.toml"), "--entry", "1"]
    assert cli.main(words) in {1, 64}
    captured = capsys.readouterr()
    printed = captured.out + captured.err
    assert printed
    assert [char for char in printed if not char.isprintable() and char != "\n"] == []


@pytest.mark.parametrize(
    "name", ["/etc/passwd", "../outside", "below/../../outside", "link", "linked/outside", ".", ""]
)
def test_nothing_outside_the_folder_of_a_file_is_read(place: Path, name: str) -> None:
    folder = place / "mail"
    folder.mkdir()
    (place / "outside").write_bytes(b"private")
    (folder / "below").mkdir()
    (folder / "link").symlink_to("../outside")
    (folder / "linked").symlink_to("..")
    with pytest.raises(FlagError) as caught:
        explain.read_file(hostile(folder, f"curl {URL} --data-binary '@{name}'"))
    assert "cannot be read" in caught.value.problems[0].what or "no regular file" in caught.value.problems[0].what


def test_what_lies_below_is_read_and_beside_standard_input_nothing(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (place / "below").mkdir()
    (place / "below" / "body").write_bytes(b"x")
    text = f"curl {URL} --data-binary @below/body"
    assert explain.read_file(hostile(place, text)).body == b"x"
    monkeypatch.chdir(place)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
    with pytest.raises(FlagError, match="put its content into the command"):
        explain.read_file("-")


def test_a_pipe_holds_nobody_up(place: Path) -> None:
    os.mkfifo(place / "pipe")
    for path in (str(place / "pipe"), hostile(place, f"curl {URL} --data-binary @pipe")):
        with pytest.raises(FlagError, match="no regular file"):
            explain.read_file(path)
    with pytest.raises(FlagError, match="no regular file"):
        explain.read_file("/dev/zero")


def test_what_the_shell_hands_over_is_read(place: Path) -> None:
    reading, writing = os.pipe()
    os.write(writing, Path(save(place)).read_bytes())
    os.close(writing)
    assert explain.read_file(f"/dev/fd/{reading}").form == "raw HTTP"
    os.close(reading)


@pytest.mark.parametrize(
    ("host", "field", "code", "said"),
    [
        ("localhost", "", 0, "admitted by the route local"),
        ("hooks.example.com", "", 1, "public_host: Nothing is configured"),
        ("localhost", "X-Forwarded-For: 192.0.2.7\r\n", 1, "forwarding_field: Nothing is configured"),
    ],
)
def test_with_nothing_configured_it_plays_local_only_mode(
    place: Path, capsys: pytest.CaptureFixture[str], host: str, field: str, code: int, said: str
):
    path = place / "delivery.http"
    path.write_text(f"POST /in HTTP/1.1\r\nHost: {host}\r\n{field}Content-Length: 2\r\n\r\n{{}}", newline="")
    for ends in ([], ["--listen", "127.0.0.1:80", "--upstream", "127.0.0.1:8000"]):
        assert explain.main([str(path), *ends]) == code
        out = capsys.readouterr().out
        assert said in out
        assert "--method" not in out
