"""``man`` and ``completion``: print the manual pages and completions that come with a package.

``packaging/pages/make.py`` makes them when a package is built; a checkout makes them when they are asked for.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path

from proxy.config.host import ExitCode
from proxy.config.parsers import Parser
from proxy.errors import FlagError
from proxy.values import frozen

_MAKER = Path(__file__).resolve().parents[2] / "packaging" / "pages" / "make.py"
_COMPLETION_EXAMPLES = """\
examples:
  hookward completion bash > /usr/share/bash-completion/completions/hookward
  hookward completion zsh  > /usr/share/zsh/vendor-completions/_hookward
  hookward completion fish > /usr/share/fish/vendor_completions.d/hookward.fish
"""


@frozen
class Printer:
    """A command that prints one of some files; ``files`` by the words that ask for them, ``default`` without a word."""

    command: str
    description: str
    word: str
    files: Mapping[str, str]
    default: str | None = None
    epilog: str = ""

    def main(self, argv: Sequence[str], /) -> int:
        """Print one file. Raises FlagError where it is not part of this installation."""
        asked: str = self.build_parser().parse_args(argv).word
        print(_text(self.files[asked]), end="")
        return ExitCode.OK

    def build_parser(self) -> Parser:
        """The parser of the command."""
        parser = Parser(
            prog=f"hookward {self.command}",
            description=self.description,
            epilog=self.epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        words = tuple(self.files)
        told = " or ".join([", ".join(words[:-1]), words[-1]])
        nargs = None if self.default is None else "?"
        parser.add_argument("word", metavar=self.word, nargs=nargs, choices=words, default=self.default, help=told)
        return parser


MAN = Printer(
    "man",
    "Print a manual page: hookward man | man -l -",
    "PAGE",
    {"hookward": "hookward.1", "hookward.toml": "hookward.toml.5"},
    default="hookward",
)
COMPLETION = Printer(
    "completion",
    "Print the completion of the command line for a shell.",
    "SHELL",
    {shell: f"hookward.{shell}" for shell in ("bash", "zsh", "fish")},
    epilog=_COMPLETION_EXAMPLES,
)


def _text(name: str) -> str:
    shipped = resources.files("proxy.tools").joinpath("pages", name)
    if shipped.is_file():
        return shipped.read_text("utf-8")
    if not _MAKER.is_file():
        what, mend = "is not part of this installation", "install hookward from a wheel or a package"
        raise FlagError.of(name, what, mend)
    command = [sys.executable, str(_MAKER), name]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout  # noqa: S603 - our own script
