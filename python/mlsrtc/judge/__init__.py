"""Bytes of a commit and its judged parent -> facts about it (docs/protocol.md, "Valid commits"). Pure.

Knows no tree, no secret, no clock, no roster and no trust: a verdict can never change when more is seen.
What only a member can tell (does it open, is the tree right, is the device trusted) is no matter of this
package. A parent that is not known yet is the caller's to wait for.
"""

from mlsrtc.judge.rule import judge
from mlsrtc.judge.values import NOTHING_PROVEN, Candidate, Judged, Proven

__all__ = ["NOTHING_PROVEN", "Candidate", "Judged", "Proven", "judge"]
