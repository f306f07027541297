"""Amazon's clients, asynchronous and not, of one botocore."""

import common
from common import gathered, url

common.metered()
import aioboto3  # noqa: E402
import boto3  # noqa: E402

CLAUDE = "anthropic.claude-sonnet-4-5-20250929-v1:0"
ASKED = {"modelId": CLAUDE, "messages": [{"role": "user", "content": [{"text": "a secret question"}]}]}
KEYS = {"region_name": "us-east-1", "endpoint_url": url(), "aws_access_key_id": "k", "aws_secret_access_key": "k"}


async def asked():
    async with aioboto3.Session().client("bedrock-runtime", **KEYS) as client:
        body = (await client.invoke_model(modelId=CLAUDE, body="{}"))["body"]
        return [
            await client.converse(**ASKED),
            await gathered((await client.converse_stream(**ASKED))["stream"]),
            (await body.read()).decode(),
            await gathered((await client.invoke_model_with_response_stream(modelId=CLAUDE, body="{}"))["body"]),
        ]


client = boto3.client("bedrock-runtime", **KEYS)
common.run([("boto3", lambda: client.converse(**ASKED)), ("aioboto3", asked)])
