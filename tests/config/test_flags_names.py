from __future__ import annotations

import pytest

from proxy.config.flags import FLAGS, Flag

FLAGS_OF_THE_CONTRACT = [
    "--listen",
    "--upstream",
    "--path",
    "--method",
    "--allow",
    "--provider",
    "--secret-file",
    "--secret-env",
    "--token-query",
    "--token-header",
    "--token-file",
    "--token-env",
    "--tls-cert",
    "--tls-key",
    "--workers",
    "--max-body",
    "--body",
    "--hold",
    "--mode",
    "--proxy-protocol",
    "--trusted-proxy",
    "--admin",
    "--log-format",
    "--log-level",
    "--access-log",
    "--drain",
    "--open",
    "--tcp",
]


def test_no_name_twice() -> None:
    assert len({flag.name for flag in FLAGS}) == len(FLAGS)
    assert len({flag.variable for flag in FLAGS}) == len(FLAGS)


def test_the_flags_are_those_of_the_contract() -> None:
    assert set(FLAGS_OF_THE_CONTRACT) <= {flag.option for flag in FLAGS}


def test_names_of_a_flag() -> None:
    flag = next(flag for flag in FLAGS if flag.name == "trusted-proxy")
    assert (flag.option, flag.variable, flag.attribute) == (
        "--trusted-proxy",
        "HOOKWARD_TRUSTED_PROXY",
        "trusted_proxy",
    )
    assert flag.many


@pytest.mark.parametrize("flag", FLAGS, ids=lambda flag: flag.name)
def test_no_flag_takes_the_value_of_a_secret(flag: Flag) -> None:
    assert (flag.key.kind.name == "reference to a secret") == (flag.prefix in {"file:", "env:"})
