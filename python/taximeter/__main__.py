"""Lets `python -m taximeter` run the command line."""

import sys

from .cli import main

sys.exit(main())
