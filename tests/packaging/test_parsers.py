"""What the parsers take, read back from them."""

from __future__ import annotations

import pytest
from parsers import Option, all_options, own_options

from proxy.config.flags import FLAGS
from proxy.core.schemes import PROVIDERS
from proxy.ops.cli import COMMANDS


def options(name: str) -> dict[str, Option]:
    return {one: option for option in all_options(name, COMMANDS) for one in option.names or (option.value,)}


@pytest.mark.parametrize("name", ["run", "check", "explain", "unit"])
def test_every_flag_of_the_table_is_there(name: str):
    assert {flag.option for flag in FLAGS} <= set(options(name))


def test_flags_that_exist_only_to_be_refused_are_not():
    assert not {"--secret", "--token", "--password"} & set(options("run"))


def test_values():
    run, send = options("run"), options("send")
    assert run["--tls-client-cert"].words == ("optional", "require")
    assert run["--provider"].words == send["PROVIDER"].words == tuple(PROVIDERS)
    assert run["--workers"].words == ("auto",)
    assert run["--tls-cert"].file
    assert run["--secret-file"].file
    assert send["--body"].file
    assert not run["--path"].file
    assert run["--open"].value == ""
    assert (run["-c"], run["-c"].value) == (run["--config"], "PATH")
    assert "newline" in send["--tamper"].words


def test_a_command_has_its_own_apart_from_those_of_run():
    assert {option.names for option in own_options("unit", COMMANDS)} == {
        ("--socket",), ("--name",), ("--systemd",), ("--write",),
        ("--agent",), ("--relay",), ("--relay-ca",), ("--proxy",), ("--proxy-login",), ("--health",),
    }  # fmt: skip
    assert own_options("version", COMMANDS) == []
