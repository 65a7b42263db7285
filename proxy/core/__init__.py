"""Pure decisions: no sockets, no clock, no randomness. Time comes in as an argument."""
