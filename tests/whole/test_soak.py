"""The short form of ``make soak``: reloads, kills and an upgrade under load lose no delivery but those a kill held."""

from __future__ import annotations

import sys

import pytest

from bench.load import soak


@pytest.mark.skipif(sys.platform != "linux", reason="connections of a process are read from /proc")
def test_no_delivery_is_lost_whatever_the_operator_does(capsys: pytest.CaptureFixture[str]) -> None:
    said: list[str] = []
    options = soak.parser().parse_args(["--seconds", "5", "--rate", "100", "--kill-every", "1.2"])
    assert soak.run(options, said.append) == 0, "\n".join(said)
