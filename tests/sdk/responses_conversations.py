"""Holds conversations with the responses of the official OpenAI SDK, mixed and without any id of their own, and
prints each request, as JSON lines, with the truth: which conversation, which turn, how it came about.

Environment: PERMILLE_BASE_URL (ends in /v1), PERMILLE_KEY.
"""

import asyncio
import json
import os

import openai

CLIENT = openai.AsyncOpenAI(
    base_url=os.environ["PERMILLE_BASE_URL"], api_key=os.environ["PERMILLE_KEY"], max_retries=0
)
MODEL = "gpt-5.6"
WEATHER = {
    "type": "function",
    "name": "weather",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
}


async def ask(talk, turn, kind, **request):
    raw = await CLIENT.responses.with_raw_response.create(model=MODEL, **request)
    headers = raw.headers
    line = {
        "case": talk, "request_id": headers["permille-request-id"], "turn": turn, "kind": kind,
        "told": headers["permille-turn"], "session": headers["permille-session"],
    }
    print(json.dumps(line), flush=True)
    return raw.parse()


async def stored(talk):
    """What was said lies with the provider: only the id of the response before is sent."""
    first = await ask(talk, 1, "new", input="hi")
    second = await ask(talk, 2, "continue", input="why?", previous_response_id=first.id)
    await ask(talk, 3, "continue", input="go on", previous_response_id=second.id)


async def items(talk, question):
    """A chat that sends all items again."""
    said = []
    for turn, asked in enumerate([question, "go on", "why?", "and then?"], 1):
        said.append({"role": "user", "content": asked})
        reply = await ask(talk, turn, "continue" if turn > 1 else "new", input=said)
        # As the SDK writes them again: the objects that it parsed.
        said += reply.output


async def agent(talk, task):
    """The loop of an agent: a call, its result, another question."""
    said = [{"role": "user", "content": task}]
    reply = await ask(talk, 1, "new", input=said, tools=[WEATHER])
    said += reply.output
    for call in reply.output:
        if call.type == "function_call":
            said.append({"type": "function_call_output", "call_id": call.call_id, "output": f"31 °C, {talk}"})
    reply = await ask(talk, 2, "tool_loop", input=said, tools=[WEATHER])
    said += [*reply.output, {"role": "user", "content": "And tomorrow?"}]
    await ask(talk, 3, "continue", input=said, tools=[WEATHER])


async def main():
    # By itself: the recorded replies of all conversations have one id.
    await stored("stored")
    talks = []
    for number, city in enumerate(["Cairo", "Khartoum", "Aswan"]):
        talks.append(items(f"items {number}", f"Which river flows through {city}, and where does it go?"))
        talks.append(agent(f"agent {number}", f"What is the weather in {city} today, and tomorrow?"))
    await asyncio.gather(*talks)


asyncio.run(main())
