"""Whether somebody else's ``proxy`` package is mixed into this environment.

The distribution proxy.py also installs a top-level package ``proxy``. With both in one environment, files of one lie
between those of the other, and which of the two answers to a name is chance. A guard must not start on chance.
"""

from __future__ import annotations

import os
import re
import sys

import proxy

MESSAGE = (
    'The package "proxy.py" is installed in the same environment and shares the import name "proxy" with hookward: '
    "install hookward into an environment of its own (python -m venv), or run pip uninstall proxy.py."
)


#: What an installer leaves beside the packages. (``importlib.metadata`` knows more, and is a tenth of a start.)
_INSTALLED = re.compile(r"proxy[._-]py(?:-.*)?\.(?:dist|egg)-info", re.IGNORECASE)


def mixed_in() -> bool:
    """Whether the distribution proxy.py is installed here, or the package ``proxy`` is not ours."""
    return getattr(proxy, "DISTRIBUTION", "") != "hookward" or any(map(_holds_it, sys.path))


def _holds_it(folder: str) -> bool:
    try:
        with os.scandir(folder or os.curdir) as entries:
            return any(_INSTALLED.fullmatch(entry.name) for entry in entries)
    except OSError:  # nothing there, or an archive, into which nobody installs
        return False
