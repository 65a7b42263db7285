"""hookward: lets webhooks in and nothing else.

The distribution is called hookward; the import package is ``proxy`` because people start it as
``python -m proxy``. The floors of the house, whose imports only go down: words (``reasons``, ``errors``,
``http1``), then ``core`` (pure decisions), ``config``, ``net`` (sockets), ``tools`` (commands that no server needs)
and ``ops`` (the process).
"""

__version__ = "0.1.0"
#: What we are called where packages are installed: how ``ops.cli`` knows that this file is ours.
DISTRIBUTION = "hookward"
