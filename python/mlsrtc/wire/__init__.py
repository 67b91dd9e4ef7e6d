"""Matrix JSON <-> frozen values, and the byte encodings behind them. No state, no clock, no trust.

`incoming` holds what a transport hands over. `encoding` and `commit_data` are bytes; `fields` reads JSON
strictly; the rest are codecs, one module per event: `membership` (with `block` and `chain`), `commit` (and
words), `to_device`, `room`, `attachment`. Whatever is wrong with what came from outside is a
RemoteProtocolError that says where.
"""
