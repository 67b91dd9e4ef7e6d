"""``python -m mlsrtc`` is the command `mlsrtc`."""

import sys

from mlsrtc.cli import main

sys.exit(main())
