"""Code written for Token Trackr. Its events go to the ledger instead."""

from taximeter import Ledger, compat, flush

compat.install("token_trackr")

from token_trackr import TokenTrackrClient, TokenTrackrConfig  # noqa: E402 - this is now taximeter's module

client = TokenTrackrClient(TokenTrackrConfig(tenant_id="acme"), destination="ledger")
client.record(provider="bedrock", model="anthropic.claude-3-sonnet", prompt_tokens=100, completion_tokens=50, latency_ms=1500)
flush()
print(Ledger().report(by=("customer", "model")))
