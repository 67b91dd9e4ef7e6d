"""Where our device stands and what it does about the head: docs/protocol.md ("Which branch", section
3.1-3.4).

Knows the answers of `ordering` and the seconds of the caller; no bytes, no MLS, no clock. Three pure
steps, asked again whenever anything has changed (level-triggered):

* `way`: from which kept state, over which commits, the head can be reached;
* `look`: what the head is to us now, with the times since when it has been so;
* `decide`: what to do, what to say, and when to ask again. Its rows are data (`TABLE`), from which
  docs/diagrams/standing.md is drawn by scripts/draw_standing.py.

What is decided here is local: it changes what we apply, say and commit, never what the head is.
"""

from mlsrtc.standing.decide import Decision, decide
from mlsrtc.standing.look import Challenge, Contest, Dispute, Situation, Voice, look, way
from mlsrtc.standing.table import TABLE, WORLD, Move, Row, Say, Stage, Trouble, Where

__all__ = [
    "TABLE",
    "WORLD",
    "Challenge",
    "Contest",
    "Decision",
    "Dispute",
    "Move",
    "Row",
    "Say",
    "Situation",
    "Stage",
    "Trouble",
    "Voice",
    "Where",
    "decide",
    "look",
    "way",
]
