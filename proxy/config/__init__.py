"""From flags, environment and TOML to one immutable ``Policy``; all mistakes reported at once."""
