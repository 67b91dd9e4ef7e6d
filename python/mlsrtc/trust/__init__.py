"""Who said it, and is that a device we let in. Pure: no clock, no randomness, no JSON events beyond the
decoded values.

`statements` makes evidence of joins, leaves and words: their signatures, and the member_id that commits to
the signer. `devices` judges the device behind a leaf: the cross-signing chain, the policy, the pinned master
keys. What it says is local and never enters the head (docs/protocol.md, "Binding").
"""

from mlsrtc.trust.devices import (
    Claim,
    Pins,
    Refused,
    Trusted,
    Verdict,
    assess,
    is_revoked,
    pin_on_first_use,
    verify_chain,
)
from mlsrtc.trust.statements import (
    LIFETIME_LIMIT,
    LeafFacts,
    leaf_of_join,
    leaf_of_left,
    sign_join,
    sign_left,
    sign_word,
    verify_join,
    verify_key_package,
    verify_left,
    verify_word,
)

__all__ = [
    "LIFETIME_LIMIT",
    "Claim",
    "LeafFacts",
    "Pins",
    "Refused",
    "Trusted",
    "Verdict",
    "assess",
    "is_revoked",
    "leaf_of_join",
    "leaf_of_left",
    "pin_on_first_use",
    "sign_join",
    "sign_left",
    "sign_word",
    "verify_chain",
    "verify_join",
    "verify_key_package",
    "verify_left",
    "verify_word",
]
