"""The fixtures of the shell's tests: a loop that must be left clean, and an authority."""

from tests.net.conftest import ca, run, warm

__all__ = ["ca", "run", "warm"]
