"""Drives the responses of the official OpenAI SDK and prints, as JSON lines, what the SDK saw.

Environment: PERMILLE_BASE_URL (ends in /v1), PERMILLE_KEY.
"""

import json
import os

import openai

CONNECTION = {"base_url": os.environ["PERMILLE_BASE_URL"], "api_key": os.environ["PERMILLE_KEY"]}
MODEL = "gpt-5.6"
WEATHER = {
    "type": "function",
    "name": "weather",
    "description": "The weather in a city.",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
        "additionalProperties": False,
    },
    "strict": True,
}


def seen(case, headers, streamed, usage, ended="complete"):
    """Prints one case: our request id, and the usage that the SDK parsed by our classes."""
    line = {
        "case": case,
        "request_id": headers["permille-request-id"],
        "streamed": streamed,
        "ended": ended,
        "input": usage and usage.input_tokens,
        "output": usage and usage.output_tokens,
        "classes": {},
    }
    if usage:
        line["classes"] = {
            "cache_read": usage.input_tokens_details.cached_tokens,
            "reasoning": usage.output_tokens_details.reasoning_tokens,
        }
    print(json.dumps(line), flush=True)


def whole(client):
    raw = client.responses.with_raw_response.create(model=MODEL, input="Name the river.")
    reply = raw.parse()
    assert reply.output_text == "The Nile.", reply
    seen("whole", raw.headers, False, reply.usage)
    return reply.id


def continued(client, first):
    raw = client.responses.with_raw_response.create(
        model=MODEL, input="And the longest?", previous_response_id=first
    )
    reply = raw.parse()
    assert reply.previous_response_id == first
    seen("previous response", raw.headers, False, reply.usage)


def stream(client, text, final, ended="complete"):
    raw = client.responses.with_raw_response.create(model=MODEL, input=text, stream=True)
    last, parts = None, ""
    for last in raw.parse():
        if last.type == "response.output_text.delta":
            parts += last.delta
    assert last.type == final, last.type
    assert ended != "complete" or parts == "The Nile.", parts
    seen(final, raw.headers, True, last.response.usage, ended)


def tools(client):
    messages = [{"role": "user", "content": "What is the weather in Cairo?"}]
    raw = client.responses.with_raw_response.create(model=MODEL, input=messages, tools=[WEATHER])
    reply = raw.parse()
    call = next(item for item in reply.output if item.type == "function_call")
    assert json.loads(call.arguments) == {"city": "Cairo"}
    seen("tool call", raw.headers, False, reply.usage)

    output = {"type": "function_call_output", "call_id": call.call_id, "output": "31 °C"}
    raw = client.responses.with_raw_response.create(
        model=MODEL, input=[*messages, call.model_dump(exclude_none=True), output]
    )
    seen("tool result", raw.headers, False, raw.parse().usage)

    with client.responses.stream(model=MODEL, input=messages, tools=[WEATHER]) as events:
        arguments = [e.arguments for e in events if e.type == "response.function_call_arguments.done"]
        reply = events.get_final_response()
        assert arguments == ['{"city":"Cairo"}'], arguments
        seen("tool call in a stream", events._response.headers, True, reply.usage)


def stored(client, first):
    """Reads of what is stored are rows without tokens, however often they are made."""
    for _ in range(2):
        raw = client.responses.with_raw_response.retrieve(first)
        assert raw.parse().usage.total_tokens > 0
        seen("stored", raw.headers, False, None)


def errors(client):
    try:
        client.responses.create(model=MODEL, input="refuse")
    except openai.BadRequestError as error:
        assert error.code == "context_length_exceeded", error
        seen("error", error.response.headers, False, None, "upstream_error")
    else:
        raise AssertionError("the provider's own 400 did not come through")
    try:
        openai.OpenAI(**(CONNECTION | {"api_key": "sk-pm_wrong"})).responses.create(
            model=MODEL, input="Name the river."
        )
    except openai.AuthenticationError as error:
        assert error.code == "permille_unknown_key", error.code
    else:
        raise AssertionError("a wrong key was served")


def main():
    client = openai.OpenAI(**CONNECTION, max_retries=0)
    first = whole(client)
    continued(client, first)
    stream(client, "Name the river.", "response.completed")
    stream(client, "briefly", "response.incomplete")
    stream(client, "fail", "response.failed", "upstream_error")
    tools(client)
    stored(client, first)
    errors(client)


main()
