"""The handler for LangChain's callbacks under the name that LangGraph's users know."""

from __future__ import annotations

from .langchain_wrapper import PaygentLangChainCallback

__all__ = ["PaygentLangGraphCallback"]


class PaygentLangGraphCallback(PaygentLangChainCallback):
    """See `PaygentLangChainCallback`. LangGraph uses LangChain's callbacks, and puts the name of the node into their metadata."""
