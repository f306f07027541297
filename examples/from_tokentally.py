"""Code written for TokenTally. Its events go to the ledger instead."""

from taximeter import Ledger, compat, flush

compat.install("tokentally")

from tokentally import TokenTally  # noqa: E402 - this is now taximeter's module

tt = TokenTally(api_key="tt_your_api_key", destination="ledger")
response = tt.track(150, 300, "claude-3-sonnet-20240229", "anthropic", metadata={"feature": "chat"})
print(f"Cost: ${response.cost_usd:.6f}")

with tt.track_usage(model="claude-3-sonnet-20240229", metadata={"feature": "summarization"}) as call:
    call.set_usage(tokens_in=321, tokens_out=87, stop_reason="end_turn")

flush()
print(Ledger().report(by=("feature", "model")))
