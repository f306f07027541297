"""Code written for Tokenr. Its events go to the ledger instead. OpenAI's client calls a fake provider on this host."""

import openai

from fake_provider import FakeProvider
from taximeter import Ledger, compat, flush

compat.install("tokenr")

import tokenr  # noqa: E402 - this is now taximeter's module

tokenr.init(agent_id="customer-support-bot", tags={"environment": "prod"}, destination="ledger")
tokenr.track("custom-provider", "gpt-4o", 1000, 500, feature_name="translation")

with FakeProvider() as provider, openai.OpenAI(api_key="k", base_url=f"{provider.url}/v1") as client:
    client.chat.completions.create(
        model="gpt-4o", messages=[{"role": "user", "content": "Hello!"}], tokenr_feature="chat", tokenr_team_id="team-123"
    )

flush()
print(Ledger().report(by=("agent", "feature", "team", "model")))
