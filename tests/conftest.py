"""What every test shares: a hypothesis profile without a clock, for two busy cores make any deadline lie."""

from __future__ import annotations

import asyncio
import gc
import inspect
import os
import signal
import sys

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.internal.conjecture import engine

from tests.examples import examples

settings.register_profile(
    "house", parent=examples(50), deadline=None, suppress_health_check=[HealthCheck.too_slow], database=None
)
settings.load_profile("house")

# A failure is made smaller for up to five minutes, which a test has not: all it then says is that its time is up. This
# is no public setting; where it goes, only that comes back.
engine.MAX_SHRINKING_SECONDS = 20

# Where the environment forbids to keep bytecode, each of the hundreds of processes that the tests start would compile
# all of hookward for itself, and each run would rewrite the assertions of all tests.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# A shell starts what runs behind it with SIGINT ignored, and every process that a test starts would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_xdist_auto_num_workers() -> int:
    """Two for each core: many tests wait for processes and deadlines."""
    return 2 * (os.cpu_count() or 1)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Tests that look for leaks collect garbage, and the collected tests are much to walk through each time."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """A test that is a coroutine function is run by the fixture ``run``, where it asks for that, or by asyncio."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    given = {name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames}
    given.get("run", asyncio.run)(pyfuncitem.obj(**given))
    return True
