"""Drives the gateway with the official DashScope SDK and prints, as JSON lines, what it saw.

Environment: PERMILLE_BASE_URL (ends in /dashscope/api/v1), PERMILLE_KEY.
"""

import json
import os

import dashscope

dashscope.base_http_api_url = os.environ["PERMILLE_BASE_URL"]
dashscope.api_key = os.environ["PERMILLE_KEY"]
MESSAGES = [{"role": "user", "content": "尼罗河有多长？"}]


def seen(case, reply, streamed, input_tokens, output_tokens, ended="complete", **classes):
    headers = {name.lower(): value for name, value in reply.headers.items()}
    line = {
        "case": case,
        "request_id": headers["permille-request-id"],
        "streamed": streamed,
        "ended": ended,
        "input": input_tokens,
        "output": output_tokens,
        "classes": classes,
    }
    print(json.dumps(line), flush=True)


def ask(**options):
    return dashscope.Generation.call(
        model="qwen-plus", messages=MESSAGES, result_format="message", **options
    )


def details(usage):
    return {
        "cache_read": usage["prompt_tokens_details"]["cached_tokens"],
        "reasoning": usage["output_tokens_details"]["reasoning_tokens"],
    }


def main():
    reply = ask()
    assert reply.output.choices[0].message.content == "尼罗河。"
    usage = reply.usage
    seen("whole", reply, False, usage["input_tokens"], usage["output_tokens"], **details(usage))

    text, last = "", None
    for last in ask(stream=True, incremental_output=True):
        text += last.output.choices[0].message.content
    assert text == "尼罗河。", text
    usage = last.usage
    seen("stream", last, True, usage["input_tokens"], usage["output_tokens"], **details(usage))

    # The SDK itself adds the choices' outputs when it merges a stream.
    last = None
    for last in ask(stream=True, incremental_output=False, n=2):
        pass
    usage = last.usage
    seen("two choices", last, True, usage["input_tokens"], usage["output_tokens"])

    last = None
    messages = [{"role": "user", "content": "fail"}]
    for last in dashscope.Generation.call(
        model="qwen-plus", messages=messages, result_format="message", stream=True,
        incremental_output=True,
    ):
        pass
    assert last.code == "DataInspectionFailed", last
    seen("error in a stream", last, True, 2010, 9, ended="upstream_error")

    reply = dashscope.TextEmbedding.call(model="text-embedding-v4", input="a river")
    seen("embeddings", reply, False, reply.usage["total_tokens"], 0)

    refused = dashscope.Generation.call(
        model="qwen-plus", messages=MESSAGES, result_format="message", api_key="sk-pm_wrong"
    )
    assert refused.status_code == 401 and refused.code == "permille_unknown_key", refused


main()
