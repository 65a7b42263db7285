"""The parser of the commands' flags: argparse, with the exit code that the house promises for bad flags."""

from __future__ import annotations

import argparse
from typing import NoReturn

from proxy.ops.exit_codes import ExitCode


class Parser(argparse.ArgumentParser):
    """An ArgumentParser that exits with 64 (argparse's own 2 means nothing to an init system)."""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong and how to get help, then exit with 64."""
        self.exit(ExitCode.USAGE, f"{self.prog}: {message}\n    see {self.prog} --help\n")
