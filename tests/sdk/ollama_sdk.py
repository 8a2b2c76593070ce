"""Drives the gateway with the official Ollama SDK and prints, as JSON lines, what it saw.

Environment: PERMILLE_BASE_URL (ends in /ollama), PERMILLE_KEY.
"""

import json
import os

import ollama

REQUEST_IDS = []


def client(key):
    note = lambda reply: REQUEST_IDS.append(reply.headers["permille-request-id"])
    return ollama.Client(
        host=os.environ["PERMILLE_BASE_URL"],
        headers={"Authorization": f"Bearer {key}"},
        event_hooks={"response": [note]},
    )


def seen(case, streamed, input_tokens, output_tokens, ended="complete"):
    line = {
        "case": case,
        "request_id": REQUEST_IDS[-1],
        "streamed": streamed,
        "ended": ended,
        "input": input_tokens,
        "output": output_tokens,
    }
    print(json.dumps(line), flush=True)


def ask(made, text, **options):
    return made.chat(model="llama2", messages=[{"role": "user", "content": text}], **options)


def main():
    made = client(os.environ["PERMILLE_KEY"])

    reply = ask(made, "Which river?")
    assert reply.message.content == "The Nile."
    seen("whole", False, reply.prompt_eval_count, reply.eval_count)

    text, last = "", None
    for last in ask(made, "Which river?", stream=True):
        text += last.message.content
    assert text == "The Nile.", text
    seen("stream", True, last.prompt_eval_count, last.eval_count)

    try:
        for _ in ask(made, "fail", stream=True):
            pass
    except ollama.ResponseError as error:
        assert "error was encountered" in error.error, error
        # "The" was delivered: one token.
        seen("error in a stream", True, "estimated", 1, ended="upstream_error")
    else:
        raise AssertionError("an error was taken for a reply")

    reply = made.embed(model="all-minilm", input="a river")
    seen("embeddings", False, reply.prompt_eval_count, 0)

    try:
        ask(client("sk-pm_wrong"), "Which river?")
    except ollama.ResponseError as error:
        assert error.status_code == 401 and "not known here" in error.error, error
    else:
        raise AssertionError("a wrong key was served")


main()
