"""Drives the gateway with the official Tencent Cloud SDK and prints, as JSON lines, what it saw.

Environment: PERMILLE_BASE_URL (http://HOST:PORT or http://HOST:PORT/hunyuan), PERMILLE_KEY.
"""

import json
import os

from tencentcloud.common.credential import Credential
from tencentcloud.common.exception.tencent_cloud_sdk_exception import TencentCloudSDKException
from tencentcloud.common.profile.client_profile import ClientProfile
from tencentcloud.common.profile.http_profile import HttpProfile
from tencentcloud.hunyuan.v20230901 import hunyuan_client, models

REQUEST_IDS = []


def client(key):
    """A client whose secret id is our key; its secret key signs for nobody."""
    http = HttpProfile()
    http.scheme, http.endpoint = os.environ["PERMILLE_BASE_URL"].split("://", 1)
    made = hunyuan_client.HunyuanClient(Credential(key, "unused"), "", ClientProfile(httpProfile=http))
    session = made.request.conn._session
    session.hooks["response"].append(
        lambda reply, **_: REQUEST_IDS.append(reply.headers["permille-request-id"])
    )
    return made


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


def chat(text, stream=False):
    request = models.ChatCompletionsRequest()
    ask = {
        "Model": "hunyuan-turbos-latest",
        "Messages": [{"Role": "user", "Content": text}],
        "Stream": stream,
    }
    request.from_json_string(json.dumps(ask))
    return request


def main():
    made = client(os.environ["PERMILLE_KEY"])

    reply = made.ChatCompletions(chat("你好"))
    assert reply.Choices[0].Message.Content == "你好！"
    seen("whole", False, reply.Usage.PromptTokens, reply.Usage.CompletionTokens)

    text, usage = "", None
    for event in made.ChatCompletions(chat("你好", stream=True)):
        chunk = json.loads(event["data"])
        text += chunk["Choices"][0]["Delta"]["Content"]
        usage = chunk["Usage"]
    assert text == "你好！", text
    seen("stream", True, usage["PromptTokens"], usage["CompletionTokens"])

    try:
        made.ChatCompletions(chat("fail"))
    except TencentCloudSDKException as error:
        assert error.code == "FailedOperation.EngineServerLimitExceeded", error
        seen("error with status 200", False, None, None, ended="upstream_error")
    else:
        raise AssertionError("an error was taken for a reply")

    request = models.GetEmbeddingRequest()
    request.Input = "a river"
    usage = made.GetEmbedding(request).Usage
    seen("embedding", False, usage.PromptTokens, 0)

    try:
        client("sk-pm_wrong").ChatCompletions(chat("你好"))
    except TencentCloudSDKException as error:
        assert error.code == "permille_unknown_key", error
    else:
        raise AssertionError("a wrong key was served")


main()
