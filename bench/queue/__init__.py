"""Proofs of the queue: that nothing is lost, whatever dies or fails, and what it costs."""
