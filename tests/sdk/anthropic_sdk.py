"""Drives the gateway with the official Anthropic SDK and prints, as JSON lines, what it saw.

Environment: PERMILLE_BASE_URL (ends in /anthropic), PERMILLE_KEY.
"""

import json
import os

import anthropic

CONNECTION = {"base_url": os.environ["PERMILLE_BASE_URL"], "api_key": os.environ["PERMILLE_KEY"]}
MODEL = "claude-sonnet-4-5"
WEATHER = {
    "name": "weather",
    "description": "The weather in a city.",
    "input_schema": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
    },
}


def seen(case, headers, usage, **more):
    """Prints one case: our request id and the usage that the SDK parsed."""
    line = {
        "case": case,
        "request_id": headers["permille-request-id"],
        "usage": usage.model_dump(exclude_none=True),
    }
    print(json.dumps(line | more), flush=True)


def message(client):
    raw = client.messages.with_raw_response.create(
        model=MODEL,
        max_tokens=64,
        messages=[{"role": "user", "content": "Name the river through Cairo."}],
    )
    seen("message", raw.headers, raw.parse().usage)


def stream(client):
    with client.messages.stream(
        model=MODEL, max_tokens=64, messages=[{"role": "user", "content": "尼罗河有多长？"}]
    ) as events:
        text = "".join(events.text_stream)
        assert text
        seen("stream", events.response.headers, events.get_final_message().usage)


def tools(client):
    messages = [{"role": "user", "content": "simulate:tool=1 What is the weather in Cairo?"}]
    raw = client.messages.with_raw_response.create(
        model=MODEL,
        max_tokens=128,
        messages=messages,
        tools=[WEATHER],
        tool_choice={"type": "any"},
    )
    reply = raw.parse()
    call = next(block for block in reply.content if block.type == "tool_use")
    seen("tool call", raw.headers, reply.usage)

    messages.append({"role": "assistant", "content": reply.content})
    result = {"type": "tool_result", "tool_use_id": call.id, "content": "31 °C, clear"}
    messages.append({"role": "user", "content": [result]})
    raw = client.messages.with_raw_response.create(
        model=MODEL, max_tokens=64, messages=messages, tools=[WEATHER]
    )
    seen("tool result", raw.headers, raw.parse().usage)


def cached_conversation(client, turns):
    system = [
        {
            "type": "text",
            "text": "You know rivers. " * 400,
            "cache_control": {"type": "ephemeral", "ttl": "1h"},
        }
    ]
    messages = []
    for turn in range(1, turns + 1):
        messages.append({"role": "user", "content": f"Question {turn} about the Nile."})
        raw = client.messages.with_raw_response.create(
            model=MODEL,
            max_tokens=64,
            system=system,
            messages=messages,
            extra_headers={"permille-session": "anthropic-talk"},
        )
        reply = raw.parse()
        assert raw.headers["permille-turn"] == str(turn)
        text = "".join(block.text for block in reply.content if block.type == "text")
        messages.append({"role": "assistant", "content": text})
        seen(f"turn {turn}", raw.headers, reply.usage, session="anthropic-talk", turn=turn)


def free_and_refused(client):
    counted = client.messages.count_tokens(
        model=MODEL, messages=[{"role": "user", "content": "How long is the Nile?"}]
    )
    assert counted.input_tokens > 0
    try:
        anthropic.Anthropic(**(CONNECTION | {"api_key": "sk-pm_wrong"})).messages.create(
            model=MODEL, max_tokens=8, messages=[{"role": "user", "content": "x"}]
        )
    except anthropic.AuthenticationError as error:
        assert error.body["error"]["code"] == "permille_unknown_key", error.body
        assert error.request_id == error.response.headers["permille-request-id"]
    else:
        raise AssertionError("a wrong key was served")
    try:
        client.with_options(max_retries=0).messages.create(
            model=MODEL,
            max_tokens=8,
            messages=[{"role": "user", "content": "simulate:status=529 hello"}],
        )
    except anthropic.APIStatusError as error:
        assert error.status_code == 529, error.status_code
    else:
        raise AssertionError("the provider's own 529 did not come through")


def main():
    client = anthropic.Anthropic(**CONNECTION)
    message(client)
    stream(client)
    tools(client)
    cached_conversation(client, 3)
    free_and_refused(client)


main()
