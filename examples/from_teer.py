"""Code written for Teer. Its events go to the ledger instead."""

from taximeter import Ledger, compat, flush

compat.install("teer")

from teer import TeerClient  # noqa: E402 - this is now taximeter's module

client = TeerClient(destination="ledger")
client.ingest.send(
    {
        "provider": "anthropic",
        "model": "claude-3-haiku-20240307",
        "function_id": "legal-document-analysis",
        "usage": {
            "input": 2000,
            "output": 3000,
            "cache": {"anthropic": {"cache_creation_input_tokens": 1500, "cache_read_input_tokens": 500}},
        },
        "metadata": {"organization_id": "org-abcdef"},
    }
)
flush()
print(Ledger().report(by=("customer", "feature", "model")))
