"""The process: commands, worker, signals, admin listener."""
