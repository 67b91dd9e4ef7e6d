"""Per-participant keys (`m.per_member`): every device makes a key of its own and hands it to each of the others.

For calls with participants without MLS. Pure state machines, wired by a session like those of MLS: `rotation` says when
our key changes and whom it may be handed to, `delivery` sees that it gets there, `inbox` keeps the keys of the others.
They know devices and keys; no event, no clock (`now` is an argument, monotonic seconds) and no Olm.
"""
