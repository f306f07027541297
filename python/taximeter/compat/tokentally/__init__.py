"""The interface of `tokentally` 0.4.0, with the argument order of its README: usage goes to TokenTally, the ledger, or both.

tt = TokenTally(api_key="tt_your_api_key", destination=("tokentally", "ledger"))
response = tt.track(tokens_in=150, tokens_out=300, model="claude-3-sonnet-20240229")
"""

from __future__ import annotations

from ._version import __version__
from .client import AuthenticationError, RateLimitError, TokenTally, TokenTallyError
from .types import UsageData, UsageResponse

__all__ = ["AuthenticationError", "RateLimitError", "TokenTally", "TokenTallyError", "UsageData", "UsageResponse", "__version__"]
