"""Calls Token Trackr's wrappers around Google's former client and Amazon's asynchronous client."""

import asyncio
import json
import os
import warnings

warnings.simplefilter("ignore", FutureWarning)  # the former client warns that it is deprecated
os.environ |= {"GRPC_VERBOSITY": "ERROR", "NO_PROXY": "*"}
import aioboto3  # noqa: E402
import google.generativeai as genai  # noqa: E402
from common import gathered, url  # noqa: E402

from taximeter.compat.token_trackr import BedrockWrapper, GeminiWrapper  # noqa: E402
from taximeter.compat.token_trackr.client import get_client  # noqa: E402

CLAUDE = "anthropic.claude-sonnet-4-5-20250929-v1:0"
KEYS = {"region_name": "us-east-1", "endpoint_url": url(), "aws_access_key_id": "k", "aws_secret_access_key": "k"}

genai.configure(api_key="k", transport="rest", client_options={"api_endpoint": url()})
wrapper = GeminiWrapper(genai.GenerativeModel("gemini-1.5-pro"))
response = wrapper.generate_content("a secret question")
parts = [part.text for part in wrapper.generate_content("a secret question", stream=True)]
chat = wrapper.start_chat()
chat.send_message("a secret question")
said = list(chat.send_message("another", stream=True))
assert response.text == "".join(parts)
assert len(chat.history) == 4  # noqa: PLR2004
assert wrapper.model_name == "models/gemini-1.5-pro"


async def asked():
    async with aioboto3.Session().client("bedrock-runtime", **KEYS) as client:
        bedrock = BedrockWrapper(client)
        body = (await bedrock.invoke_model(modelId=CLAUDE, body="{}"))["body"]
        assert await body.read()
        assert await gathered((await bedrock.invoke_model_with_response_stream(modelId=CLAUDE, body="{}"))["body"])
        return type(body).__name__


kind = asyncio.run(asked())
get_client().close()
print(json.dumps([type(response).__name__, type(chat._inner).__name__, kind]))
