"""What it costs to take content out of its chunks: ``python -m bench.micro.chunked`` prints medians in microseconds.

Each figure is for 64 KiB of content. h11 is measured on the same bytes for comparison. Seconds to run; compare runs on
the same quiet machine only.
"""

import h11

from bench.micro.timing import tell
from proxy.core.content import ChunkedDecoder

BLOCK = bytes(65536)
ONE = b"10000\r\n%b\r\n" % BLOCK
OF_16K = b"4000\r\n%b\r\n" % bytes(16384) * 4
OF_1K = b"400\r\n%b\r\n" % bytes(1024) * 64
SMALL_READS = [OF_1K[at : at + 1460] for at in range(0, len(OF_1K), 1460)]
HEAD = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"


def decode(*pieces):
    decoder = ChunkedDecoder(None)
    return [decoder.feed(piece) for piece in pieces]


def by_h11(data):
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(HEAD + data)
    connection.next_event()
    taken = 0
    while taken < len(BLOCK):
        event = connection.next_event()
        assert isinstance(event, h11.Data)
        taken += len(event.data)


CASES = {
    "one chunk": lambda: decode(ONE),
    "the middle of a larger chunk": lambda: decode(b"20000\r\n", BLOCK),
    "4 chunks in one read": lambda: decode(OF_16K),
    "64 chunks in one read": lambda: decode(OF_1K),
    "64 chunks in reads of 1,460": lambda: decode(*SMALL_READS),
    "64 chunks by h11": lambda: by_h11(OF_1K),
}


if __name__ == "__main__":
    assert len(b"".join(decode(OF_1K))) == len(BLOCK)
    tell(CASES)
