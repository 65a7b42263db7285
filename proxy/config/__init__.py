"""From flags, environment and file to the policy and the settings of a process, in four rooms.

* base: what all others speak in: commandline, endpoints, feed, host, installation, notes, paths, problems, rules,
  sizes.
* read: text to a tree of tables, each value of its kind and with its place: agent_keys, as_file, flag_names, flags,
  guarded_files, handed_over, keys, kinds, limits, locate, parse, queue_keys, schema, scheme_keys, secret_files,
  store_url, tree, where.
* build: what the tables mean together: accounts, admission, agents, allow, build, console, copies, delivery,
  duplicates, fixtures, guards, handshakes, listeners, load, outline, payloads, reach, route, schemes, set_catalogue,
  set_shelf, set_store, set_swap, settings, upstreams.
* tell: what was loaded, in words: describe, words.

Imports go back in this order, never forth. A key is added with a line in ``schema`` (or ``limits``) and the line that
asks for it.
"""
