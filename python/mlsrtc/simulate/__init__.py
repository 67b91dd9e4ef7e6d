"""Key distribution schemes on one trace and one network, side by side: what `mlsrtc simulate` shows.

    comparison = compare(built_in("clinic", seed=1), measured())

`trace` says who is in the call, `network` what links and homeservers take, `schemes` what is compared; `compare` plays
and measures, `terminal` and `page` show. Needs the extra `simulate`.
"""
