"""Runs a block of a README that needs Google's former client, with the client's address set to the fake provider's."""

import functools
import os
import sys
import warnings

warnings.simplefilter("ignore", FutureWarning)  # the former client warns that it is deprecated
os.environ |= {"GRPC_VERBOSITY": "ERROR", "NO_PROXY": "*"}
import google.generativeai as genai  # noqa: E402
from common import url  # noqa: E402

from taximeter import compat  # noqa: E402

genai.configure = functools.partial(genai.configure, transport="rest", client_options={"api_endpoint": url()})
compat.install("token_trackr")
exec(compile(sys.argv[3], "README", "exec"), {})  # noqa: S102
compat.flush(10)
