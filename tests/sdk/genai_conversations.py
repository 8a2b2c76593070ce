"""Holds chats with the official Google Gen AI SDK, mixed and without any id of their own, and prints each
request, as JSON lines, with the truth: which conversation, which turn, how it came about.

Environment: PERMILLE_BASE_URL (ends in /gemini), PERMILLE_KEY.
"""

import asyncio
import json
import os

from google import genai
from google.genai import types

MODEL = "gemini-2.5-pro"
CLIENT = genai.Client(
    api_key=os.environ["PERMILLE_KEY"],
    http_options=types.HttpOptions(base_url=os.environ["PERMILLE_BASE_URL"]),
)


def seen(talk, turn, headers):
    headers = {name.lower(): value for name, value in headers.items()}
    line = {
        "case": talk, "request_id": headers["permille-request-id"], "turn": turn,
        "kind": "continue" if turn > 1 else "new",
        "told": headers["permille-turn"], "session": headers["permille-session"],
    }
    print(json.dumps(line), flush=True)


async def chat(talk, question, stream):
    """A chat as the SDK keeps it: it sends its whole history again."""
    system = types.GenerateContentConfig(system_instruction="Be short.")
    held = CLIENT.aio.chats.create(model=MODEL, config=system)
    for turn, asked in enumerate([question, "go on", "why?", "and then?"], 1):
        if not stream:
            reply = await held.send_message(asked)
            seen(talk, turn, reply.sdk_http_response.headers)
            continue
        headers = None
        async for chunk in await held.send_message_stream(asked):
            headers = headers or chunk.sdk_http_response.headers
        seen(talk, turn, headers)


async def main():
    talks = []
    for number, city in enumerate(["Cairo", "Khartoum", "Aswan"]):
        question = f"Which river flows through {city}, and where does it go?"
        talks.append(chat(f"chat {number}", question, stream=False))
        talks.append(chat(f"stream {number}", f"{question} In one sentence.", stream=True))
    await asyncio.gather(*talks)


asyncio.run(main())
