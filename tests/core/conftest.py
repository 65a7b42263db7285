"""No test of the core may live off what another one has had remembered."""

from __future__ import annotations

import pytest

from proxy.core import forwarding, grammar, response_head

MEMORIES = (response_head._read_again, forwarding._write_answer_again, forwarding._strangers, grammar.check_host)


@pytest.fixture(autouse=True)
def _nothing_remembered():
    for memory in MEMORIES:
        memory.cache_clear()
