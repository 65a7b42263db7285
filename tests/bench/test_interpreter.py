"""Which Python is measured."""

import sys
from pathlib import Path

import pytest

from bench.interpreter import Interpreter, UnfitError
from bench.load.run import main


def test_it_is_told_with_its_build() -> None:
    found = Interpreter(Path(sys.executable))
    assert str(found).startswith(f"{sys.version_info.major}.{sys.version_info.minor}.")
    assert "built" in str(found) or "builds" in str(found) or "optimised" in str(found)
    assert {"h11", "uvloop"} <= found.versions.keys()


def test_one_that_lacks_something_is_refused_with_the_mend(tmp_path: Path) -> None:
    bare = tmp_path / "python"
    bare.write_text(f'#!/bin/sh\nexec {sys.executable} -S -E "$@"\n')
    bare.chmod(0o755)
    with pytest.raises(UnfitError, match=r"lacks h11 and uvloop: .*python -m pip install h11 uvloop"):
        Interpreter(bare)


def test_what_is_no_interpreter_ends_the_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--python", str(tmp_path / "none")]) == 2
    assert "does not run" in capsys.readouterr().err
