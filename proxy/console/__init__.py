"""The console: what came, why it was refused, and what can be done about it. A wing: what serves never imports it."""
