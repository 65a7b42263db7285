"""The wing that keeps deliveries and sends them later; imported where a route asks for it, and nowhere else."""
