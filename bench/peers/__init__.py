"""What hookward is measured against, each a program of its own: ``python -m bench.peers.NAME --help``."""
