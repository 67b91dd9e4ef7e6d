"""Lets the tests of this folder import `pages`, whichever file pytest collects first."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
