"""The text of units: quoting, capabilities, and what older managers need."""

from __future__ import annotations

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.tools.units import Needs, literal, quoted, service_unit, socket_unit


def unit(**needs: object) -> dict[str, list[str]]:
    text = service_unit(Needs(**{"name": "hookward", "program": ["/bin/x"], "command": ["--open"], **needs}))
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        key, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            found.setdefault(key, []).append(value)
    return found


@pytest.mark.parametrize(
    ("word", "written"),
    [
        ("--listen", "--listen"),
        ("0.0.0.0:443", "0.0.0.0:443"),
        ("%d/github.secret", "%d/github.secret"),
        ("", '""'),
        ("two words", '"two words"'),
        ('say "hi"', '"say \\"hi\\""'),
        ("$HOME", "$$HOME"),
        ("a\\b", '"a\\\\b"'),
        ("a;b", '"a;b"'),
    ],
)
def test_words_are_quoted_where_they_must_be(word: str, written: str):
    assert quoted(word) == written


@given(st.lists(st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1)))
def test_a_shell_would_read_the_same_words(words: list[str]):
    line = " ".join(quoted(word.replace("$", "").replace("\\", "") or "x") for word in words)
    assert shlex.split(line) == [word.replace("$", "").replace("\\", "") or "x" for word in words]


def test_no_specifier_is_meant_by_accident():
    assert literal("100%d") == "100%%d"


@pytest.mark.parametrize(
    ("low_port", "capability", "users"), [(True, "CAP_NET_BIND_SERVICE", "no"), (False, "", "yes")]
)
def test_the_capability_is_there_for_low_ports_only(low_port: bool, capability: str, users: str):
    found = unit(low_port=low_port)
    assert found["CapabilityBoundingSet"] == found["AmbientCapabilities"] == [capability]
    assert found["PrivateUsers"] == [users]


def test_life():
    found = unit(drain_s=7.5)
    assert found["Type"] == ["notify-reload"]
    assert found["ExecStart"] == ["/bin/x --open"]
    assert found["ExecReload"] == ["/bin/x reload $MAINPID"]
    assert found["ReloadSignal"] == ["SIGCONT"]  # the command sends the one that reloads
    assert found["RuntimeDirectory"] == ["hookward-reload"]
    assert "HOOKWARD_RELOAD_SOCKET=%t/hookward-reload/socket" in found["Environment"]
    assert found["TimeoutStopSec"] == ["22.5"]
    assert "OOMPolicy" not in found
    assert unit(supervised=True)["OOMPolicy"] == ["continue"]
    old = unit(systemd=252)
    assert old["Type"] == ["notify"]
    assert old["ExecReload"] == ["/bin/x reload $MAINPID"]
    assert "ReloadSignal" not in old


def test_who_runs_it_and_what_it_may_touch():
    found = unit(
        user="web",
        group="www",
        directories=[("LogsDirectory", "hookward")],
        writable=["/srv/100%"],
        credentials=[("a.secret", "/etc/a.secret")],
        environment_file="/etc/hookward/environment",
        working_directory="/opt/hookward",
        state_dir_set=True,
    )
    assert "DynamicUser" not in found
    assert (found["User"], found["Group"], found["LogsDirectory"]) == (["web"], ["www"], ["hookward"])
    assert found["ReadWritePaths"] == ["/srv/100%%"]
    assert found["LoadCredential"] == ["a.secret:/etc/a.secret"]
    assert found["EnvironmentFile"] == ["/etc/hookward/environment"]
    assert found["WorkingDirectory"] == ["/opt/hookward"]
    assert not any("HOOKWARD_STATE_DIR" in one for one in found["Environment"])
    assert "HOOKWARD_STATE_DIR=%S/hookward" in unit()["Environment"]


def test_the_socket():
    text = socket_unit("hooks", ["443", "/run/in.sock"], v6_only=False)
    assert "ListenStream=443\nListenStream=/run/in.sock\nFileDescriptorName=hooks\nBindIPv6Only=both\n" in text
    found = unit(socket=True)
    assert found["Requires"] == found["Also"] == ["hookward.socket"]
