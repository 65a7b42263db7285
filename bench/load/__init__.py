"""Whole-process measurements: ``python -m bench.load`` and ``python -m bench.load.memory``."""
