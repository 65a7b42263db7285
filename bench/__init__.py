"""Measurements of hookward; see README.md in this folder."""
