"""From flags, environment and file to the policy and the settings of a process, in four rooms.

* base: what all others speak in: commandline, endpoints, host, problems, sizes.
* read: text to a tree of tables, each value of its kind and with its place: flag_names, flags, given_flags,
  guarded_files, handed_over, keys, kinds, parse, parsers, schema, secret_files, table_keys, tree.
* build: what the tables mean together: admission, agents, allow, build, delivery, duplicates, guards,
  listeners, load, route, schemes, set_catalogue, set_shelf, settings, upstreams.
* tell: what was loaded, in words: describe, words.

Imports go back in this order, never forth. A key is added with a line in ``schema`` (or ``table_keys``) and the line
that asks for it.
"""
