"""Which branch is the call: the head rule of docs/protocol.md ("Which branch", section 2), from a set.

Knows the values of `evidence` and nothing of bytes, secrets, trust or clocks. Everything here is a function
of the *set* of values that were added: neither their order nor their repetition changes an answer. What is
local to a member (can I open it, do I trust it, what does my clock say) stays outside and changes only what
that member does next:

* a join whose `from` is more than `policy.clock_skew` beyond the caller's clock waits **outside** and is
  added once its time has come (section 2, now(E)): a clock decides when it is added, never what is answered
  for a given set;
* a commit whose parent is unknown cannot be judged, so its bytes wait in the session. A `Committed` that is
  added before its parent is kept here and connected when the parent comes;
* the bodies of a commit (garbled twins of one id) are no evidence and are kept by the session.
"""

from mlsrtc.ordering.dump import dump, replay
from mlsrtc.ordering.index import Evidence
from mlsrtc.ordering.ordering import Fork, Ordering
from mlsrtc.ordering.rule import Word

__all__ = ["Evidence", "Fork", "Ordering", "Word", "dump", "replay"]
