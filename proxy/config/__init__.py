"""From flags, environment and file to the policy and the settings of a process, in four rooms.

* base: what all others speak in: host, notation, problems.
* read: text to a tree of tables, each value of its kind and with its place: flags, guarded_files, keys, kinds, parse,
  parsers, schema, secret_files, tree.
* build: what the tables mean together: admission, agents, build, delivery, ends, guards, load, route, schemes,
  set_shelf, settings.
* tell: what was loaded, in words: describe.

Imports go back in this order, never forth. A key is added with a line in ``schema`` (or ``keys``) and the line that
asks for it.
"""
