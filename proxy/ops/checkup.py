"""``check``: load the configuration as ``run`` would, say what it means, and listen nowhere.

Everything that can be judged without a socket is: flags, environment, file, secrets, address lists, certificates. The
exit code is 0, 64 or 78, so that a deployment can ask before it reloads.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from proxy.config.describe import describe
from proxy.config.load import load
from proxy.ops.certificates import load_certificates
from proxy.ops.environment import environment
from proxy.ops.exit_codes import ExitCode


def main(argv: Sequence[str]) -> int:
    """Print what the configuration means; takes the flags of ``run``. Raises FlagError and ConfigError."""
    loaded = load(argv, environment())
    load_certificates(loaded.settings)
    print(describe(loaded))
    for warning in loaded.settings.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    return ExitCode.OK
