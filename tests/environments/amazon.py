"""Calls Amazon's clients, synchronous and asynchronous, and Google's former client, over REST and gRPC."""

import json
import os
import warnings

import common
from common import gathered, url

warnings.simplefilter("ignore", FutureWarning)  # the former client warns that it is deprecated
os.environ |= {"GRPC_VERBOSITY": "ERROR", "NO_PROXY": "*"}
common.metered()
import aioboto3  # noqa: E402
import aiohttp  # noqa: E402
import boto3  # noqa: E402
import google.generativeai as genai  # noqa: E402
import grpc  # noqa: E402
from google.ai.generativelanguage_v1beta import GenerateContentRequest, GenerateContentResponse  # noqa: E402
from google.ai.generativelanguage_v1beta import GenerativeServiceAsyncClient as AsyncGenerative  # noqa: E402
from google.ai.generativelanguage_v1beta.services.generative_service.transports import (  # noqa: E402
    GenerativeServiceGrpcAsyncIOTransport as Transport,
)

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


REFUSED = {"modelId": "an-error", "messages": ASKED["messages"]}


async def refused(call):
    async with aioboto3.Session().client("bedrock-runtime", **KEYS) as client:
        return await call(client)


client = boto3.client("bedrock-runtime", **KEYS)
genai.configure(api_key="k", transport="rest", client_options={"api_endpoint": url()})
model, wrong = genai.GenerativeModel("gemini-1.5-flash"), genai.GenerativeModel("gemini-error")


def told(response):
    return response.to_dict()


def streamed():
    response = model.generate_content("a secret question", stream=True)
    return [[told(part) for part in response], told(response)]


async def over_grpc():
    """Call the asynchronous client, which only supports gRPC. A gRPC server passes the fake provider's answers on."""

    async def ask(method, request):
        address = f"{url()}/v1beta/{request.model}:{method}"
        body = GenerateContentRequest.to_json(request, use_integers_for_enums=False)
        headers = {"content-type": "application/json"}
        async with aiohttp.ClientSession() as session, session.post(address, data=body, headers=headers) as answer:
            return await answer.json()

    def response(answer):
        return GenerateContentResponse.from_json(json.dumps(answer), ignore_unknown_fields=True)

    async def generate(request, context):
        if "error" in request.model:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "no")
        return response(await ask("generateContent", request))

    async def stream(request, _context):
        for answer in await ask("streamGenerateContent", request):
            yield response(answer)

    coders = {
        "request_deserializer": GenerateContentRequest.deserialize,
        "response_serializer": GenerateContentResponse.serialize,
    }
    methods = {
        "GenerateContent": grpc.unary_unary_rpc_method_handler(generate, **coders),
        "StreamGenerateContent": grpc.unary_stream_rpc_method_handler(stream, **coders),
    }
    service = "google.ai.generativelanguage.v1beta.GenerativeService"
    server = grpc.aio.server()
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(service, methods)])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}")
    # As `GenerativeModel` makes it from its configuration, but with an unencrypted channel.
    model._async_client = wrong._async_client = AsyncGenerative(transport=Transport(channel=channel))
    whole = await model.generate_content_async("a secret question")
    parts = await model.generate_content_async("a secret question", stream=True)
    seen = [told(whole), [told(part) async for part in parts]]
    try:
        await wrong.generate_content_async("a secret question", request_options={"retry": None})
    except Exception as error:
        seen.append(type(error).__name__)
    await channel.close()
    await server.stop(None)
    return seen


common.run(
    [
        ("boto3", lambda: client.converse(**ASKED)),
        ("boto3, stream", lambda: list(client.converse_stream(**ASKED)["stream"])),
        ("boto3, body", lambda: client.invoke_model(modelId=CLAUDE, body="{}")["body"].read().decode()),
        ("boto3, body in frames", lambda: list(client.invoke_model_with_response_stream(modelId=CLAUDE, body="{}")["body"])),
        ("aioboto3", asked),
        ("aioboto3, refused", lambda: refused(lambda client: client.converse(**REFUSED))),
        ("aioboto3, stream refused", lambda: refused(lambda client: client.converse_stream(**REFUSED))),
        ("aioboto3, body refused", lambda: refused(lambda client: client.invoke_model(modelId="an-error", body="{}"))),
        ("google.generativeai, refused", lambda: wrong.generate_content("a secret question")),
        ("google.generativeai, stream refused", lambda: wrong.generate_content("a secret question", stream=True)),
        ("google.generativeai", lambda: told(model.generate_content("a secret question"))),
        ("google.generativeai, chat", lambda: told(model.start_chat().send_message("a secret question"))),
        ("google.generativeai, stream", streamed),
        ("google.generativeai, asynchronously", over_grpc),
    ]
)
