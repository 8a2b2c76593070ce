"""Drives the gateway with the official Qianfan SDK, both of its formats, and prints, as JSON lines,
what it saw.

Environment: PERMILLE_BASE_URL (ends in /qianfan), PERMILLE_KEY, FORMAT (1, 1-signed or 2). The first
format exchanges the key for a token at the gateway's own token endpoint, or signs with it as its access
key; the second sends it as it is.
"""

import json
import logging
import os

import qianfan
from qianfan import errors

BASE = os.environ["PERMILLE_BASE_URL"]
KEY = os.environ["PERMILLE_KEY"]
FORMAT, _, SIGNED = os.environ["FORMAT"].partition("-")
CREDENTIAL = ("access_key", "secret_key") if SIGNED else ("ak", "sk")
CONFIG = qianfan.get_config()
CONFIG.BASE_URL = CONFIG.CONSOLE_API_BASE_URL = BASE
CONFIG.DISABLE_CACHE = True
# The SDK prints every error that it raises as well.
logging.getLogger("qianfan").setLevel(logging.CRITICAL)


def seen(case, reply, streamed, usage, ended="complete", **more):
    headers = {name.lower(): value for name, value in reply.headers.items()}
    line = {
        "case": case,
        "request_id": headers["permille-request-id"],
        "streamed": streamed,
        "ended": ended,
        "input": usage["prompt_tokens"],
        "output": usage.get("completion_tokens", 0),
    }
    if details := usage.get("prompt_tokens_details"):
        line["classes"] = {"cache_read": details["cached_tokens"]}
    print(json.dumps(line | more), flush=True)


def credential(key):
    return dict(zip(CREDENTIAL, (key, "anything")))


def made(key):
    if FORMAT == "1":
        return qianfan.ChatCompletion(model="ERNIE-3.5-8K", **credential(key))
    CONFIG.BEARER_TOKEN = key
    return qianfan.ChatCompletion(version="2", model="ernie-5.1")


def ask(chat, text, **options):
    messages = [{"role": "user", "content": text}]
    return chat.do(messages=messages, retry_count=1, **options)


def text_of(reply):
    if FORMAT == "1":
        return reply["result"]
    return "".join(c.get("delta", c.get("message", {})).get("content", "") for c in reply["choices"])


def main():
    chat = made(KEY)
    expected = "你好，有什么可以帮你？" if FORMAT == "1" else "尼罗河。"

    reply = ask(chat, "Which river?")
    assert text_of(reply) == expected, reply.body
    seen("whole", reply, False, reply["usage"])

    text, last = "", None
    options = {} if FORMAT == "1" else {"stream_options": {"include_usage": True}}
    for last in ask(chat, "Which river?", stream=True, **options):
        text += text_of(last)
    assert text == expected, text
    seen("stream", last, True, last["usage"])

    if FORMAT == "1":
        reply = qianfan.Embedding(model="Embedding-V1", **credential(KEY)).do(texts=["a river"])
        seen("embeddings", reply, False, reply["usage"])

        last = None
        try:
            for last in ask(chat, "fail", stream=True):
                pass
        except errors.APIError as error:
            assert error.error_code == 336100, error
            seen("error in a stream", last, True, last["usage"], ended="upstream_error")
        else:
            raise AssertionError("an error was taken for a reply")

    try:
        ask(chat, "refuse")
    except errors.QianfanError as error:
        expected = errors.AccessTokenExpiredError if FORMAT == "1" else errors.RequestError
        assert isinstance(error, expected), error
        if FORMAT == "2":
            seen("error", error, False, {"prompt_tokens": None}, "upstream_error", output=None)
    else:
        raise AssertionError("the provider's own refusal did not come through")

    try:
        ask(made("sk-pm_wrong"), "Which river?")
    except errors.QianfanError as error:
        text = str(error)
        # The SDK keeps no text of what refuses a signed request.
        expired = SIGNED and isinstance(error, errors.AccessTokenExpiredError)
        assert expired or "not known" in text or "permille_unknown_key" in text, error
    else:
        raise AssertionError("a wrong key was served")


main()
