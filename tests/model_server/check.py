"""A real model server behind a real gateway: what the server counts is what is on the rows.

Usage: check.py PERMILLE MODEL

PERMILLE is the program, MODEL a file of make_model.py. The server is llama-cpp-python's, which
reports usage in whole replies and none in a stream. Prints one line per case and fails at the first
that differs.
"""

import contextlib
import http.client
import json
import os
import pathlib
import selectors
import socket
import subprocess
import sys
import tempfile

READY_SECONDS = 60
ROW_SECONDS = 30
NAME = "tiny"


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def call(port, path, body=None, key=None):
    """Gives status, headers and body of one request; the body as text."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=READY_SECONDS)
    headers = {"content-type": "application/json"}
    if key:
        headers["authorization"] = f"Bearer {key}"
    method, sent = ("GET", None) if body is None else ("POST", json.dumps(body))
    connection.request(method, path, sent, headers)
    reply = connection.getresponse()
    text = reply.read().decode()
    connection.close()
    return reply.status, reply.headers, text


def until(what, seconds, look):
    """Looks again and again, without a pause where looking itself takes time."""
    waits = selectors.DefaultSelector()
    for _ in range(seconds * 10):
        with contextlib.suppress(OSError):
            if (found := look()) is not None:
                return found
        waits.select(timeout=0.1)
    raise AssertionError(f"{what}: not within {seconds} s")


@contextlib.contextmanager
def running(command, log, **options):
    with open(log, "a") as written:
        process = subprocess.Popen(command, stdout=written, stderr=written, **options)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


class Gateway:
    """A `permille serve` in front of one model server."""

    def __init__(self, permille, folder, server_port):
        self.permille, self.folder = permille, folder
        (folder / "credential").write_text("sk-local")
        entry = (
            f'[[upstream]]\nname = "server"\nfamily = "openai"\nprovider = "llamacpp"\n'
            f'base_url = "http://127.0.0.1:{server_port}/v1"\nmodels = ["{NAME}"]\n'
            f'api_key_file = "{folder}/credential"\n'
        )
        listeners = "".join(
            f'[{part}]\nlisten = "127.0.0.1:0"\n' for part in ("gateway", "console", "metrics")
        )
        (folder / "permille.toml").write_text(
            listeners + '[pricing]\nunpriced = "hold"\n' + entry
        )

    def command(self, *arguments):
        flags = ["--config", self.folder / "permille.toml", "--data", self.folder / "data"]
        return [self.permille, *arguments, *flags]

    def json(self, *arguments):
        done = subprocess.run(
            self.command(*arguments, "--json"), check=True, capture_output=True, text=True
        )
        return [json.loads(line) for line in done.stdout.splitlines() if line]

    def is_ready(self):
        record = json.loads((self.folder / "data/server.json").read_text())
        self.port = int(record["gateway"].rsplit(":", 1)[1])
        ready, _, _ = call(int(record["metrics"].rsplit(":", 1)[1]), "/readyz")
        return True if ready == 200 else None

    def prepare(self):
        until("the gateway is ready", READY_SECONDS, self.is_ready)
        self.json("customer", "add", "acme", "--currency", "USD")
        (made,) = self.json("key", "create", "--customer", "acme")
        self.key = made["secret"]

    def ask(self, path, body):
        return call(self.port, path, body, self.key)

    def row(self, headers):
        wanted = headers["permille-request-id"]

        def look():
            rows = self.json("usage", "list", "--request", wanted)
            rows = [row for listed in rows for row in listed.get("items", [listed])]
            return rows[0] if rows else None

        return until("the row is there", ROW_SECONDS, look)


def told(case, row, expected):
    """Compares totals, source and ending of a row with what is known."""
    for name, value in expected.items():
        assert row.get(name) == value, f"{case}: {name} is {row.get(name)}, not {value}: {row}"
    tokens = f"{row.get('input_total')} in, {row.get('output_total')} out"
    print(f"{case}: {tokens}, {row['source']}, {row['ended']}", flush=True)


def events(text):
    """The data of a stream's events, without the marker of its end."""
    lines = [line[6:] for line in text.splitlines() if line.startswith("data: ")]
    assert lines[-1] == "[DONE]", text
    return [json.loads(line) for line in lines[:-1]]


def reported(gateway, base, count):
    """Whole replies: the server's usage is the row's, and its tokenizer agrees."""
    chat = [{"role": "user", "content": "which river is the Nile"}]
    asks = {
        "chat": ("/chat/completions", {"messages": chat, "max_tokens": 12}),
        "completion": ("/completions", {"prompt": "the river is a sea", "max_tokens": 9}),
        "embeddings": ("/embeddings", {"input": ["the river", "a sea"]}),
    }
    for case, (path, body) in asks.items():
        status, headers, text = gateway.ask(base + path, {"model": NAME, "temperature": 0, **body})
        assert status == 200, text
        usage = json.loads(text)["usage"]
        output = usage.get("completion_tokens", 0)
        if case == "completion":
            assert usage["prompt_tokens"] == count(body["prompt"]), usage
        if case == "embeddings":
            assert usage["prompt_tokens"] == sum(map(count, body["input"])), usage
        expected = {"input_total": usage["prompt_tokens"], "output_total": output}
        told(case, gateway.row(headers), expected | {"source": "reported", "ended": "complete"})


def refused(gateway, base):
    body = {"model": NAME, "prompt": "x" * 2000, "max_tokens": 4}
    status, headers, text = gateway.ask(f"{base}/completions", body)
    assert status == 400, text
    expected = {"ended": "upstream_error", "input_total": None, "tokens": {}}
    told("context exceeded", gateway.row(headers), expected)


def left(gateway, base):
    """A client that leaves after the first bytes: the row says so and is not free."""
    body = {"model": NAME, "prompt": "the river", "max_tokens": 300, "stream": True}
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=READY_SECONDS)
    headers = {"content-type": "application/json", "authorization": f"Bearer {gateway.key}"}
    connection.request("POST", f"{base}/completions", json.dumps(body), headers)
    reply = connection.getresponse()
    reply.read(64)
    # The reply holds the socket as well.
    reply.close()
    connection.close()
    row = gateway.row(reply.headers)
    assert row["input_total"] > 0 and row["output_total"] > 0, row
    told("a client that leaves", row, {"ended": "client_gone"})


def python_server(permille, model, folder):
    """llama-cpp-python's server: a stream says nothing of usage, so it is estimated."""
    port = free_port()
    command = [sys.executable, "-m", "llama_cpp.server", "--model", model, "--port", str(port)]
    command += ["--host", "127.0.0.1", "--n_ctx", "512", "--chat_format", "chatml"]
    command += ["--model_alias", NAME, "--embedding", "true"]
    gateway = Gateway(permille, folder, port)

    def count(text):
        return json.loads(call(port, "/extras/tokenize/count", {"input": text})[2])["count"]

    with (
        running(command, folder / "model.log"),
        running(gateway.command("serve"), folder / "gateway.log"),
    ):
        until("the model is loaded", READY_SECONDS, lambda: call(port, "/v1/models"))
        gateway.prepare()
        reported(gateway, "/v1", count)
        refused(gateway, "/v1")

        body = {"model": NAME, "temperature": 0, "max_tokens": 24, "stream": True}
        body |= {"prompt": "the river is a sea", "stream_options": {"include_usage": True}}
        status, headers, text = gateway.ask("/v1/completions", body)
        assert status == 200 and not any("usage" in event for event in events(text)), text
        row = gateway.row(headers)
        # The same at temperature 0, so this is what the stream really took.
        whole = call(port, "/v1/completions", body | {"stream": False, "stream_options": None})
        usage = json.loads(whole[2])["usage"]
        told("a stream without usage", row, {"source": "estimated", "ended": "complete"})
        print(f"  the server counted {usage['prompt_tokens']} in, {usage['completion_tokens']} out")
        assert row["input_total"] > 0 and row["output_total"] > 0, row
        left(gateway, "/v1")


def main(permille, model):
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        try:
            python_server(os.path.abspath(permille), os.path.abspath(model), folder)
        except BaseException:
            for log in ("model.log", "gateway.log"):
                text = (folder / log).read_text() if (folder / log).exists() else ""
                print(f"--- {log}\n{text[-4000:]}", file=sys.stderr)
            raise


main(*sys.argv[1:])
