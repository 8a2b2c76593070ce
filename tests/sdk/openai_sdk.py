"""Drives the gateway with the official OpenAI SDK and prints, as JSON lines, what the SDK saw.

Environment: PERMILLE_BASE_URL (ends in /v1), PERMILLE_KEY. Nothing else differs from a program
that talks to the provider itself.
"""

import asyncio
import json
import os

import openai

CONNECTION = {"base_url": os.environ["PERMILLE_BASE_URL"], "api_key": os.environ["PERMILLE_KEY"]}
MODEL = "gpt-4o-mini"
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather in a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    },
}


def seen(case, headers, usage, **more):
    """Prints one case: our request id and the usage that the SDK parsed, if any."""
    usage = usage.model_dump(exclude_none=True) if usage is not None else None
    line = {"case": case, "request_id": headers["permille-request-id"], "usage": usage}
    print(json.dumps(line | more), flush=True)


def chat(client):
    raw = client.chat.completions.with_raw_response.create(
        model=MODEL, messages=[{"role": "user", "content": "Name the river through Cairo."}]
    )
    reply = raw.parse()
    assert reply.choices[0].message.content
    seen("chat", raw.headers, reply.usage)


def stream(client, case, **options):
    raw = client.chat.completions.with_raw_response.create(
        model=MODEL,
        messages=[{"role": "user", "content": "尼罗河从哪里流向哪里？"}],
        stream=True,
        **options,
    )
    usage, text, empty = None, "", 0
    for chunk in raw.parse():
        usage = chunk.usage or usage
        if not chunk.choices:
            empty += 1
            continue
        text += chunk.choices[0].delta.content or ""
    assert text
    seen(case, raw.headers, usage, frames_without_choices=empty)


def tools(client):
    messages = [{"role": "user", "content": "simulate:tool=1 What is the weather in Cairo?"}]
    raw = client.chat.completions.with_raw_response.create(
        model=MODEL, messages=messages, tools=[WEATHER], tool_choice="required"
    )
    reply = raw.parse()
    call = reply.choices[0].message.tool_calls[0]
    json.loads(call.function.arguments)
    seen("tool call", raw.headers, reply.usage)

    messages.append(reply.choices[0].message)
    messages.append({"role": "tool", "tool_call_id": call.id, "content": "31 °C, clear"})
    raw = client.chat.completions.with_raw_response.create(
        model=MODEL, messages=messages, tools=[WEATHER]
    )
    seen("tool result", raw.headers, raw.parse().usage)


def conversation(client, turns):
    messages = [{"role": "system", "content": "You know rivers. " * 200}]
    for turn in range(1, turns + 1):
        messages.append({"role": "user", "content": f"Question {turn} about the Nile."})
        raw = client.chat.completions.with_raw_response.create(
            model=MODEL, messages=messages, extra_headers={"permille-session": "openai-talk"}
        )
        reply = raw.parse()
        assert raw.headers["permille-turn"] == str(turn), raw.headers["permille-turn"]
        messages.append({"role": "assistant", "content": reply.choices[0].message.content})
        seen(f"turn {turn}", raw.headers, reply.usage, session="openai-talk", turn=turn)


def embeddings(client):
    raw = client.embeddings.with_raw_response.create(
        model="text-embedding-3-small", input=["alpha", "beta"]
    )
    reply = raw.parse()
    assert len(reply.data) == 2
    seen("embeddings", raw.headers, reply.usage)


def completions(client):
    raw = client.completions.with_raw_response.create(
        model="gpt-3.5-turbo-instruct", prompt="The Nile", max_tokens=16
    )
    seen("completions", raw.headers, raw.parse().usage)


def errors(client):
    assert any(model.id == MODEL for model in client.models.list())
    try:
        client.chat.completions.create(model="no-such-model-9", messages=[])
    except openai.APIStatusError as error:
        assert error.code == "permille_unpriced_model", error.code
        assert error.request_id == error.response.headers["permille-request-id"]
    else:
        raise AssertionError("an unpriced model was served")
    try:
        openai.OpenAI(**(CONNECTION | {"api_key": "sk-pm_wrong"})).models.list()
    except openai.AuthenticationError as error:
        assert error.code == "permille_unknown_key", error.code
    else:
        raise AssertionError("a wrong key was served")
    try:
        client.with_options(max_retries=0).chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": "simulate:status=429 hello"}]
        )
    except openai.RateLimitError:
        pass
    else:
        raise AssertionError("the provider's own 429 did not come through")


async def concurrent():
    client = openai.AsyncOpenAI(**CONNECTION)
    ask = client.chat.completions.with_raw_response.create
    messages = [{"role": "user", "content": "Be brief."}]
    for raw in await asyncio.gather(*(ask(model=MODEL, messages=messages) for _ in range(8))):
        seen("concurrent", raw.headers, raw.parse().usage)


def main():
    client = openai.OpenAI(**CONNECTION)
    chat(client)
    stream(client, "stream that asks for usage", stream_options={"include_usage": True})
    stream(client, "stream that does not ask")
    stream(client, "stream that declines", stream_options={"include_usage": False})
    tools(client)
    conversation(client, 3)
    embeddings(client)
    completions(client)
    errors(client)
    asyncio.run(concurrent())


main()
