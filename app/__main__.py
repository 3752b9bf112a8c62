"""`python -m app`: the command `steadfast`."""

import sys

from app.cli import main

sys.exit(main())
