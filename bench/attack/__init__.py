"""Attacks on hookward on this machine alone, time-bounded, with genuine deliveries among them."""
