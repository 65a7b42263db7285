"""The manual pages: every command, flag and key, in a form that man reads without complaint."""

from __future__ import annotations

import re
import shutil
import subprocess

import manual
import pytest

from proxy.config.flags import FLAGS
from proxy.config.schema import SECTIONS
from proxy.ops.cli import COMMANDS

NAMES = ("hookward", "hookward.toml")
TEXTS = (manual.command_page(COMMANDS), manual.file_page())


@pytest.mark.parametrize("text", TEXTS, ids=NAMES)
def test_every_line_is_a_known_request_or_text(text: str):
    assert text.startswith(".TH HOOKWARD")
    assert text.isascii()
    assert {line.split()[0] for line in text.splitlines() if line.startswith((".", "'"))} <= {
        ".TH", ".nh", ".ad", ".SH", ".TP", ".nf", ".fi", ".br", ".PP",
    }  # fmt: skip
    assert "" not in text.splitlines()
    assert text.count(".nf\n") == text.count(".fi\n")
    assert re.search(r"[^\\]`", text) is None


@pytest.mark.skipif(shutil.which("groff") is None, reason="no groff")
@pytest.mark.parametrize("text", TEXTS, ids=NAMES)
def test_groff_has_no_complaint(text: str):
    command = ["groff", "-man", "-Tascii", "-ww", "-z"]
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=True)
    assert done.stderr == ""


def bold(text: str) -> str:
    return "\\fB" + text.replace("-", "\\-") + "\\fR"


def test_nothing_is_missing():
    page, file = manual.command_page(COMMANDS), manual.file_page()
    assert [name for name in COMMANDS if f".TP\n{bold(name)}\n" not in page] == []
    assert [flag.option for flag in FLAGS if bold(flag.option) not in page] == []
    keys = {key.name for section in SECTIONS.values() for key in section.keys}
    assert [key for key in keys if f".TP\n{bold(key)} (" not in file] == []


def test_text_that_would_be_a_request_is_guarded():
    assert manual._text(".so /etc/passwd") == ["\\&.so /etc/passwd"]
    assert manual._text("'tis") == ["\\(aqtis"]
    assert manual._text("see [the page](there.md) on `a-b`") == ["see the page on \\fBa\\-b\\fR"]
    assert manual._text("") == []
