"""Agents of two frameworks, OpenAI's Agents SDK and Pydantic AI, hold conversations all at once, by
the frameworks' own loops and without any id of their own. Prints each request, as JSON lines, with
the truth: which conversation, which turn, how it came about.

Environment: PERMILLE_BASE_URL, PERMILLE_KEY.
"""

import asyncio
import json
import os
import sys
from functools import partial

import anthropic
import openai
from agents import (
    Agent, ModelSettings, OpenAIChatCompletionsModel, Runner, SQLiteSession, ToolsToFinalOutputResult,
    function_tool, set_tracing_disabled,
)
from pydantic import BaseModel
from pydantic_ai import Agent as PydanticAgent
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.anthropic import AnthropicProvider
from pydantic_ai.providers.openai import OpenAIProvider

URL, KEY = os.environ["PERMILLE_BASE_URL"], os.environ["PERMILLE_KEY"]
SYSTEM = "You are the assistant of Acme. Be short and polite."
# The simulator calls a tool after whatever is no tool's result.
CALLS = {"x-simulate": "tool=1"}


def only_loopback(event, args):
    """Neither framework is to tell anybody of what it does."""
    if event == "socket.connect" and isinstance(args[1], tuple) and args[1][0] not in ("127.0.0.1", "::1"):
        raise RuntimeError(f"a connection to {args[1]}")


class Talk:
    """One conversation: counts its requests as they are answered."""

    def __init__(self, name):
        self.name, self.turn, self.within = name, 0, 0
        # Anthropic's form of an object is a tool that is called: the next question comes in one message with its
        # result, which nothing tells from an agent at work.
        self.next = "tool_loop" if "Anthropic, an object" in name else "continue"

    def asks(self):
        """Another thing is asked: what comes behind its first request is the loop."""
        self.within = 0

    async def answered(self, response):
        self.turn, self.within = self.turn + 1, self.within + 1
        headers = response.headers
        line = {
            "case": self.name, "request_id": headers["permille-request-id"], "turn": self.turn,
            "kind": "new" if self.turn == 1 else self.next if self.within == 1 else "tool_loop",
            "told": headers["permille-turn"], "session": headers["permille-session"],
        }
        print(json.dumps(line), flush=True)

    def openai(self, calls):
        hooked = openai.DefaultAsyncHttpxClient(event_hooks={"response": [self.answered]})
        headers = CALLS if calls else {}
        return openai.AsyncOpenAI(base_url=f"{URL}/v1", api_key=KEY, http_client=hooked, default_headers=headers)

    def anthropic(self, calls):
        hooked = anthropic.DefaultAsyncHttpxClient(event_hooks={"response": [self.answered]})
        headers = CALLS if calls else {}
        return anthropic.AsyncAnthropic(
            base_url=f"{URL}/anthropic", api_key=KEY, http_client=hooked, default_headers=headers
        )


async def weather(city: str, days: int = 1) -> str:
    """The weather in a city."""
    return f"31 °C, dry, {days} days"


class Place(BaseModel):
    """Where something is."""

    country: str
    river: str


async def openai_agent(talk, questions, streamed=False, steps=1, kept=False):
    """The loop of OpenAI's Agents SDK: what was said is handed on as a list, or kept by its session."""
    async with talk.openai(calls=steps == 1) as client:
        model = OpenAIChatCompletionsModel("gpt-4o-mini", client)
        settings = ModelSettings(tool_choice="required") if steps > 1 else ModelSettings()
        agent = Agent(
            name="Acme", instructions=SYSTEM, model=model, tools=[function_tool(weather)],
            model_settings=settings, reset_tool_choice=steps == 1,
            tool_use_behavior=stop_after(steps) if steps > 1 else "run_llm_again",
        )
        said, session = [], SQLiteSession(talk.name) if kept else None
        for question in questions:
            talk.asks()
            asked = question if session else [*said, {"role": "user", "content": question}]
            if streamed:
                result = Runner.run_streamed(agent, asked, session=session)
                async for _ in result.stream_events():
                    pass
            else:
                result = await Runner.run(agent, asked, session=session)
            said = result.to_input_list()


def stop_after(steps):
    """Calls of tools after which a run is over."""
    made = 0

    def decide(_, results):
        nonlocal made
        made += 1
        return ToolsToFinalOutputResult(is_final_output=made % steps == 0, final_output=str(results[-1].output))

    return decide


async def handoff(talk, questions):
    """An agent that hands the conversation on to another, with another system prompt."""
    async with talk.openai(calls=True) as client:
        model = OpenAIChatCompletionsModel("gpt-4o-mini", client)
        expert = Agent(name="Expert", instructions="You know all rivers.", model=model)
        agent = Agent(name="Triage", instructions=SYSTEM, model=model, handoffs=[expert])
        said = []
        for question in questions:
            talk.asks()
            result = await Runner.run(agent, [*said, {"role": "user", "content": question}])
            said = result.to_input_list()


async def pydantic_agent(talk, model, questions, streamed=False, output=str, tools=(weather,)):
    """The loop of Pydantic AI: what was said is handed on as its messages."""
    agent = PydanticAgent(model, system_prompt=SYSTEM, tools=tools, output_type=output)
    said = []
    for question in questions:
        talk.asks()
        if streamed:
            async with agent.run_stream(question, message_history=said) as result:
                async for _ in result.stream_output():
                    pass
                said = result.all_messages()
        else:
            said = (await agent.run(question, message_history=said)).all_messages()


async def pydantic_openai(talk, questions, calls=True, **options):
    async with talk.openai(calls) as client:
        model = OpenAIChatModel("gpt-4o-mini", provider=OpenAIProvider(openai_client=client))
        await pydantic_agent(talk, model, questions, **options)


async def pydantic_anthropic(talk, questions, calls=True, **options):
    async with talk.anthropic(calls) as client:
        provider = AnthropicProvider(anthropic_client=client)
        model = AnthropicModel("claude-sonnet-4-5", provider=provider)
        await pydantic_agent(talk, model, questions, **options)


KINDS = {
    "agents": openai_agent,
    "agents, streamed": partial(openai_agent, streamed=True),
    "agents, three calls a run": partial(openai_agent, steps=3),
    "agents, kept by a session": partial(openai_agent, kept=True),
    "agents, handed on": handoff,
    "pydantic, OpenAI": pydantic_openai,
    "pydantic, OpenAI, streamed": partial(pydantic_openai, streamed=True),
    "pydantic, OpenAI, an object": partial(pydantic_openai, calls=False, output=Place, tools=()),
    "pydantic, Anthropic": pydantic_anthropic,
    "pydantic, Anthropic, streamed": partial(pydantic_anthropic, streamed=True),
    "pydantic, Anthropic, an object": partial(pydantic_anthropic, calls=False, output=Place, tools=()),
}


async def main():
    sys.addaudithook(only_loopback)
    set_tracing_disabled(True)
    # Everybody says the same behind a question of one's own.
    await asyncio.gather(*[
        hold(Talk(f"{kind}: {city}"), [f"Will it rain in {city} this week, and why? ({kind})", "And then?", "go on"])
        for city in ["Cairo", "Khartoum"]
        for kind, hold in KINDS.items()
    ])


asyncio.run(main())
