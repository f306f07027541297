"""Lets `python -m taximeter.cli` run the command line."""

import sys

from .main import main

sys.exit(main())
