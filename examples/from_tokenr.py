"""Code that was written for Tokenr, with its events in the ledger instead; OpenAI's client asks a provider on this machine."""

import openai

from fake_provider import FakeProvider
from taximeter import Ledger, compat, flush

compat.install("tokenr")

import tokenr  # noqa: E402 - ours, from here on

tokenr.init(agent_id="customer-support-bot", tags={"environment": "prod"}, destination="ledger")
tokenr.track("custom-provider", "gpt-4o", 1000, 500, feature_name="translation")

with FakeProvider() as provider, openai.OpenAI(api_key="k", base_url=f"{provider.url}/v1") as client:
    client.chat.completions.create(
        model="gpt-4o", messages=[{"role": "user", "content": "Hello!"}], tokenr_feature="chat", tokenr_team_id="team-123"
    )

flush()
print(Ledger().report(by=("agent", "feature", "team", "model")))
