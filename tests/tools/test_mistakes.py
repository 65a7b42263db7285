"""What newcomers get wrong: each mistake is told with its place and its mend, and none in a traceback.

``make newcomers`` makes the same mistakes on a clean machine.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from bench.newcomers.mistaken import FIXTURES
from bench.newcomers.mistakes import ADVICE, COMMAND_LINES, CONFIGURATIONS
from proxy.ops.cli import main


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that mistakes are made with."""
    if shutil.which("openssl") is None or shutil.which("bash") is None:
        pytest.skip("openssl or bash is not installed")
    made = tmp_path_factory.mktemp("mistakes")
    script = "set -e\n" + FIXTURES.replace("FOLDER", str(made))
    subprocess.run(["bash", "-c", script], check=True, capture_output=True, timeout=30)
    return made


def expect(name: str, argv: list[str], words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    code: int | str | None
    try:
        code = main(argv)
    except SystemExit as leaving:
        code = leaving.code
    said = "".join(capsys.readouterr())
    assert [word for word in words if word not in said] == [], said
    assert "Traceback" not in said
    assert code != 0 or name in ADVICE, said


@pytest.mark.parametrize(("name", "text", "words"), CONFIGURATIONS, ids=[case[0] for case in CONFIGURATIONS])
def test_a_configuration(
    name: str, text: str, words: tuple[str, ...], folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    def here(text: str) -> str:
        return text.replace("SECRET", f"{folder}/good.secret").replace("FOLDER", str(folder))

    path = tmp_path / "case.toml"
    path.write_text(here(text))
    expect(name, ["check", "-c", str(path)], list(map(here, words)), capsys)


@pytest.mark.parametrize(("name", "line", "words"), COMMAND_LINES, ids=[case[0] for case in COMMAND_LINES])
def test_a_command_line(
    name: str, line: str, words: tuple[str, ...], folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    secret = tmp_path / "good.secret"
    shutil.copyfile(folder / "good.secret", secret)

    def here(text: str) -> str:
        return text.replace("SECRET", str(secret)).replace("FOLDER", str(folder))

    expect(name, here(line).split(), list(map(here, words)), capsys)
