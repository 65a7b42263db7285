"""How a sender's proof is described, read and judged."""
