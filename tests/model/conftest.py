"""Lets the tests of this folder import `watching` from the folder above, whichever file pytest collects first."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))
