"""Drives the gateway with the official Google Gen AI SDK and prints, as JSON lines, what it saw.

Environment: PERMILLE_BASE_URL (ends in /gemini), PERMILLE_KEY.
"""

import asyncio
import json
import os

from google import genai
from google.genai import errors, types

MODEL = "gemini-2.5-pro"


def client(key):
    options = types.HttpOptions(base_url=os.environ["PERMILLE_BASE_URL"])
    return genai.Client(api_key=key, http_options=options)


def seen(case, headers, streamed, usage, ended="complete", **more):
    """Prints one case: our request id, and the usage that the SDK parsed by our classes."""
    headers = {name.lower(): value for name, value in headers.items()}
    line = {
        "case": case,
        "request_id": headers["permille-request-id"],
        "streamed": streamed,
        "ended": ended,
    }
    if usage:
        line["input"] = usage.prompt_token_count + (usage.tool_use_prompt_token_count or 0)
        line["output"] = (usage.candidates_token_count or 0) + (usage.thoughts_token_count or 0)
        line["classes"] = {
            "cache_read": usage.cached_content_token_count,
            "reasoning": usage.thoughts_token_count,
        }
    print(json.dumps(line | more), flush=True)


def whole(made):
    reply = made.models.generate_content(model=MODEL, contents="Which river?")
    assert reply.text == "The Nile.", reply
    seen("whole", reply.sdk_http_response.headers, False, reply.usage_metadata)

    reply = made.models.generate_content(model=MODEL, contents="think only")
    assert reply.candidates[0].finish_reason == types.FinishReason.MAX_TOKENS, reply
    seen("thoughts only", reply.sdk_http_response.headers, False, reply.usage_metadata)


def stream(made):
    text, last, headers = "", None, None
    for last in made.models.generate_content_stream(model=MODEL, contents="Which river?"):
        text += last.text or ""
        headers = headers or last.sdk_http_response.headers
    assert text == "The Nile.", text
    seen("stream", headers, True, last.usage_metadata)

    last = None
    for last in made.models.generate_content_stream(model=MODEL, contents="blocked"):
        pass
    assert last.prompt_feedback.block_reason == types.BlockedReason.SAFETY, last
    seen("blocked", last.sdk_http_response.headers, True, last.usage_metadata)


async def concurrent(made):
    async def ask():
        reply = await made.aio.models.generate_content(model=MODEL, contents="Which river?")
        seen("concurrent", reply.sdk_http_response.headers, False, reply.usage_metadata)

    await asyncio.gather(*(ask() for _ in range(4)))


def free(made):
    reply = made.models.count_tokens(model=MODEL, contents="Which river?")
    assert reply.total_tokens == 4, reply
    seen("count", reply.sdk_http_response.headers, False, None, input=None, output=None)


def embeddings(made):
    reply = made.models.embed_content(model="gemini-embedding-001", contents=["a river", "a sea"])
    assert len(reply.embeddings) == 2, reply
    seen("embeddings", reply.sdk_http_response.headers, False, None, input="estimated", output=0)


def refused(made):
    headers, delivered = None, ""
    try:
        for chunk in made.models.generate_content_stream(model=MODEL, contents="fail"):
            headers = headers or chunk.sdk_http_response.headers
            delivered += chunk.text or ""
    except errors.ServerError as error:
        assert error.code == 503 and error.status == "UNAVAILABLE", error
        # What was thought and delivered before: 160 and "The".
        seen("error in a stream", headers, True, None, "upstream_error", input=1200, output=160)
    else:
        raise AssertionError(f"an error was taken for a reply: {delivered}")
    try:
        made.models.generate_content(model=MODEL, contents="refuse")
    except errors.ClientError as error:
        assert error.code == 400, error
        seen("error", error.response.headers, False, None, "upstream_error", input=None)
    else:
        raise AssertionError("the provider's own 400 did not come through")
    try:
        wrong = client("sk-pm_wrong")
        wrong.models.generate_content(model=MODEL, contents="Which river?")
    except errors.ClientError as error:
        assert error.code == 401 and "permille_unknown_key" in str(error.details), error
    else:
        raise AssertionError("a wrong key was served")


def main():
    made = client(os.environ["PERMILLE_KEY"])
    whole(made)
    stream(made)
    asyncio.run(concurrent(made))
    free(made)
    embeddings(made)
    refused(made)


main()
