"""`python -m taximeter.cli` is the command line as well."""

import sys

from .main import main

sys.exit(main())
