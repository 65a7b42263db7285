"""Causes of a refused delivery: a module for each part of it that may be at fault."""
