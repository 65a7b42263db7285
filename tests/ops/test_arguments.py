"""Bad flags end with 64."""

from __future__ import annotations

import pytest

from proxy.ops.arguments import Parser


def test_bad_flags_end_with_64(capsys: pytest.CaptureFixture[str]):
    parser = Parser(prog="hookward demo")
    with pytest.raises(SystemExit) as ended:
        parser.parse_args(["--twice"])
    assert ended.value.code == 64
    assert "hookward demo: unrecognized arguments: --twice" in capsys.readouterr().err
