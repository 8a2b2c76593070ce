"""Holds conversations with the official SDKs and an agent loop, mixed and without any id of their own, and
prints each request, as JSON lines, with the truth: which conversation, which turn, how it came about.

Environment: PERMILLE_BASE_URL, PERMILLE_KEY.
"""

import asyncio
import json
import os

import anthropic
import openai

URL, KEY = os.environ["PERMILLE_BASE_URL"], os.environ["PERMILLE_KEY"]
OPENAI = openai.AsyncOpenAI(base_url=f"{URL}/v1", api_key=KEY)
ANTHROPIC = anthropic.AsyncAnthropic(base_url=f"{URL}/anthropic", api_key=KEY)
SYSTEM = "You are the assistant of Acme. Be short and polite."
PARAMETERS = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
    "required": ["city"],
}
FUNCTION = {"type": "function", "function": {"name": "weather", "parameters": PARAMETERS}}
TOOL = {"name": "weather", "input_schema": PARAMETERS}
# What everybody says, after a question of one's own.
SHORT = ["go on", "why?", "go on", "and then?"]


def seen(talk, turn, kind, headers):
    line = {
        "case": talk, "request_id": headers["permille-request-id"], "turn": turn, "kind": kind,
        "told": headers["permille-turn"], "session": headers["permille-session"],
    }
    print(json.dumps(line), flush=True)


async def chat(talk, question, stream):
    """A chat: a question, short ones after it, one answer wanted again."""
    messages = [{"role": "system", "content": SYSTEM}]
    for turn, asked in enumerate([question, *SHORT], 1):
        messages.append({"role": "user", "content": asked})
        for again in range(2 if turn == 3 else 1):
            raw = await OPENAI.chat.completions.with_raw_response.create(
                model="gpt-4o-mini", messages=messages, stream=stream
            )
            if stream:
                text = ""
                async for chunk in raw.parse():
                    text += (chunk.choices[0].delta.content or "") if chunk.choices else ""
            else:
                text = raw.parse().choices[0].message.content
            kind = "regenerate" if again else "new" if turn == 1 else "continue"
            seen(talk, turn, kind, raw.headers)
        messages.append({"role": "assistant", "content": text})


async def openai_agent(talk, task):
    """The loop of an agent: calls until it answers, then another task."""
    messages, turn = [{"role": "system", "content": SYSTEM}], 0
    for number, asked in enumerate([task, "Now the same for the day after."]):
        messages.append({"role": "user", "content": asked})
        for step in range(3):
            turn += 1
            raw = await OPENAI.chat.completions.with_raw_response.create(
                model="gpt-4o-mini", messages=messages, tools=[FUNCTION],
                tool_choice="required" if step < 2 else "none",
            )
            kind = "tool_loop" if step else "continue" if number else "new"
            seen(talk, turn, kind, raw.headers)
            message = raw.parse().choices[0].message
            # As the SDK writes it again: the object that it parsed.
            messages.append(message)
            for call in message.tool_calls or []:
                messages.append({"role": "tool", "tool_call_id": call.id, "content": f"31 °C, {talk}"})


async def anthropic_agent(talk, task):
    """The same with Anthropic's SDK, which gives the arguments of a call as an object."""
    messages, turn = [], 0
    for number, asked in enumerate([task, "Now the same for the day after."]):
        messages.append({"role": "user", "content": asked})
        for step in range(3):
            turn += 1
            raw = await ANTHROPIC.messages.with_raw_response.create(
                model="claude-sonnet-4-5", max_tokens=200, system=SYSTEM, messages=messages, tools=[TOOL],
                tool_choice={"type": "any" if step < 2 else "none"},
            )
            kind = "tool_loop" if step else "continue" if number else "new"
            seen(talk, turn, kind, raw.headers)
            content = (await raw.parse()).content
            messages.append({"role": "assistant", "content": content})
            results = [
                {"type": "tool_result", "tool_use_id": block.id, "content": f"31 °C, {talk}"}
                for block in content
                if block.type == "tool_use"
            ]
            if results:
                messages.append({"role": "user", "content": results})


async def anthropic_runner(talk, task):
    """The agent loop of Anthropic's SDK itself: it calls the tool and asks again, until its bound."""
    turn = 0

    async def answered(response):
        nonlocal turn
        turn += 1
        seen(talk, turn, "tool_loop" if turn > 1 else "new", response.headers)

    @anthropic.beta_async_tool
    async def weather(city: str, days: int = 1) -> str:
        """The weather in a city."""
        return f"31 °C, {talk}"

    hooked = anthropic.DefaultAsyncHttpxClient(event_hooks={"response": [answered]})
    async with ANTHROPIC.with_options(http_client=hooked) as client:
        runner = client.beta.messages.tool_runner(
            model="claude-sonnet-4-5", max_tokens=200, messages=[{"role": "user", "content": task}],
            tools=[weather], tool_choice={"type": "any"}, max_iterations=4, thread=False,
        )
        async for _ in runner:
            pass


async def main():
    cities = ["Cairo", "Khartoum", "Aswan"]
    talks = []
    for number, city in enumerate(cities):
        question = f"Which river flows through {city}, and where does it go from there?"
        talks.append(chat(f"chat {number}", question, stream=False))
        talks.append(chat(f"stream {number}", f"{question} In one sentence.", stream=True))
        talks.append(openai_agent(f"agent {number}", f"Weather near {city}?"))
        talks.append(anthropic_runner(f"anthropic runner {number}", f"Will it rain in {city}?"))
        talks.append(anthropic_agent(f"anthropic agent {number}", f"What is the weather in {city}?"))
    await asyncio.gather(*talks)


asyncio.run(main())
