"""From an epoch to media keys: derivation, when receivers install, when the sender switches, the send gate.

Knows MLS groups and leaves; knows no Matrix event, no roster and no clock (`now` is an argument, monotonic seconds).
"""
