"""`python -m taximeter` is the command line."""

import sys

from .cli import main

sys.exit(main())
