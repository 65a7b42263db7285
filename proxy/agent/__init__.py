"""Agents: an application behind a firewall dials out, and its connections serve as those of an upstream."""
