"""The shell: listeners, the two protocols, the pool, TLS. It asks the core; the core never calls back."""
