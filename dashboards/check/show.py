"""A demo with some minutes of traffic beside a Prometheus, for pictures: conversations of three customers
that grow turn by turn, and for a while a provider that fails.
"""

import json
import pathlib
import random
import shutil
import subprocess
import tempfile
import threading
import time
import urllib.error
import urllib.request

import draw
import files
import shorten

SCRAPE_SECONDS = 1
TALKERS = 6
# Bounds of what is sent: a talker makes at most so many requests a second.
PAUSE_SECONDS = 0.25
TURNS = (1, 2, 3, 3, 4, 5, 6, 8, 10, 14)
MODELS = {"acme": "gpt-4o-mini", "nordlicht": "gpt-4o", "wenxin": "ERNIE-Bot"}
WORDS = "parcel refund invoice delivery address shoes return label month contract token price search query".split()


def pictures(permille: str, folder: pathlib.Path, seconds: float) -> tuple[list[str], str]:
    with tempfile.TemporaryDirectory() as made:
        work = pathlib.Path(made)
        with subprocess.Popen(
            [permille, "demo", "--json"], cwd=work, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        ) as demo:
            try:
                places = next(d for d in map(json.loads, demo.stdout) if "metrics" in d)
                return with_prometheus(work, permille, places, folder, seconds)
            finally:
                demo.terminate()


def with_prometheus(work: pathlib.Path, permille: str, places: dict, folder: pathlib.Path, seconds: float):
    shorten.write(work)
    target = places["metrics"].removeprefix("http://").removesuffix("/metrics")
    (work / "prometheus.yaml").write_text(
        f"global: {{scrape_interval: {SCRAPE_SECONDS}s, evaluation_interval: {SCRAPE_SECONDS}s}}\n"
        f"rule_files: ['{work}/*.yml']\n"
        f"scrape_configs: [{{job_name: permille, static_configs: [{{targets: ['{target}']}}]}}]\n"
    )
    unpacked = files.ROOT / "tests/.prometheus/usr/bin/prometheus"
    program = str(unpacked) if unpacked.exists() else shutil.which("prometheus")
    command = [
        program, f"--config.file={work}/prometheus.yaml", f"--storage.tsdb.path={work}/series",
        "--web.listen-address=127.0.0.1:0",
    ]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as prometheus:
        try:
            line = next(each for each in prometheus.stderr if '"Listening on"' in each)
            url = "http://" + line.split("address=")[1].split()[0]
            threading.Thread(target=prometheus.stderr.read, daemon=True).start()
            talk(permille, places, seconds)
            return draw.all_boards(url, f"{places['data']}/permille.db", folder, seconds=seconds)
        finally:
            prometheus.terminate()


def talk(permille: str, places: dict, seconds: float) -> None:
    until = time.monotonic() + seconds
    threads = []
    for number in range(TALKERS):
        customer = list(MODELS)[number % len(MODELS)]
        # The last one meets its limit of requests by minute.
        limit = ["--rpm", "60"] if number == TALKERS - 1 else []
        made = subprocess.run(
            [permille, "key", "create", "--customer", customer, "--json", "--data", places["data"], *limit],
            check=True, capture_output=True, text=True,
        )
        key = json.loads(made.stdout)["secret"]
        tell = [permille, "session", "outcome", "--customer", customer, "--data", places["data"]]
        talker = Talker(places["gateway"], key, MODELS[customer], number, until, seconds, tell)
        threads.append(threading.Thread(target=talker.run))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


class Talker:
    """One application: conversation after conversation, each turn with all that was said before."""

    def __init__(self, gateway, key: str, model: str, number: int, until: float, seconds: float, tell) -> None:
        self.gateway, self.key, self.model, self.until, self.seconds = gateway, key, model, until, seconds
        self.number, self.random = number, random.Random(number)
        self.session, self.tell = "", tell

    def run(self) -> None:
        while time.monotonic() < self.until:
            # Every other application names its conversations; the others are recognised.
            self.session = f"talk-{self.number}-{self.random.randrange(10**6)}" if self.number % 2 else ""
            said = [{"role": "system", "content": " ".join(WORDS * 12)}]
            for _ in range(self.random.choice(TURNS)):
                question = " ".join(self.random.choices(WORDS, k=self.random.randint(8, 60)))
                said.append({"role": "user", "content": question})
                answer = self.ask(said)
                if answer and self.random.random() < 0.12:
                    answer = self.ask(said)
                if not answer or time.monotonic() > self.until:
                    break
                said.append({"role": "assistant", "content": answer})
            if self.session and self.random.random() < 0.7:
                outcome = self.random.choice(["accepted", "accepted", "resolved", "rejected"])
                subprocess.run([*self.tell, self.session, outcome], stdout=subprocess.DEVNULL, check=False)

    def ask(self, said: list[dict]) -> str:
        pace = self.random.choice([20, 40, 40, 80, 300])
        simulate = f"tokens={self.random.randint(20, 160)},first_ms={pace},chunk_ms=1"
        left = self.until - time.monotonic()
        if self.seconds * 0.35 < left < self.seconds * 0.5 and self.random.random() < 0.3:
            simulate = self.random.choice(["status=503", "status=429", "usage=none", "cut_after=6"])
        stream = "status" not in simulate
        headers = {"content-type": "application/json", "authorization": f"Bearer {self.key}", "x-simulate": simulate}
        if self.session:
            headers["permille-session"] = self.session
        request = urllib.request.Request(
            f"{self.gateway}/v1/chat/completions",
            json.dumps({"model": self.model, "messages": said, "stream": stream}).encode(),
            headers,
        )
        time.sleep(PAUSE_SECONDS * self.random.random() * 2)
        try:
            with urllib.request.urlopen(request, timeout=30) as reply:
                return "".join(text_of(line) for line in reply)
        except (urllib.error.URLError, OSError):
            return ""


def text_of(line: bytes) -> str:
    if not line.startswith(b"data: {"):
        return ""
    choices = json.loads(line[6:]).get("choices") or [{}]
    return choices[0].get("delta", {}).get("content") or ""
