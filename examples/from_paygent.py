"""Code written for Paygent. Its events go to the ledger instead."""

from taximeter import Ledger, compat, flush

compat.install("paygent_sdk")

from paygent_sdk import Client, UsageData, UsageDataWithStrings  # noqa: E402 - this is now taximeter's module

client = Client("your-api-key", destination="ledger")
client.send_usage("agent-123", "customer-456", "email-sent", UsageData(model="gpt-4o", prompt_tokens=756, completion_tokens=244))
texts = UsageDataWithStrings("OpenAI", "gpt-4o", "What is the capital of France?", "The capital of France is Paris.")
client.send_usage_with_token_string("agent-123", "customer-456", "question-answer", texts)
flush()
print(Ledger().report(by=("customer", "feature", "model")))
