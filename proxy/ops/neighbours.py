"""Whether somebody else's ``proxy`` package is mixed into this environment.

The distribution proxy.py also installs a top-level package ``proxy``. With both in one environment, files of one lie
between those of the other, and which of the two answers to a name is chance. A guard must not start on chance.
"""

from __future__ import annotations

from importlib import metadata

import proxy

MESSAGE = (
    'The package "proxy.py" is installed in the same environment and shares the import name "proxy" with hookward: '
    "install hookward into an environment of its own (python -m venv), or run pip uninstall proxy.py."
)


def mixed_in() -> bool:
    """Whether the distribution proxy.py is installed here, or the package ``proxy`` is not ours."""
    if not (proxy.__doc__ or "").startswith("hookward"):
        return True
    try:
        metadata.distribution("proxy.py")
    except metadata.PackageNotFoundError:
        return False
    return True
