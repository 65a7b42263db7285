"""Causes of a refused delivery: one module per part of it that may be at fault. ``core.diagnosis`` is the table."""
