"""Every query of every dashboard, rule and alert, against a real Prometheus and a real ledger."""

import csv
import io
import json
import re
import sqlite3
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request

import files
import generate

# A demo lasts a minute: what hours are elsewhere.
SHORT = {"__rate_interval": "10s", "__range": "2m"}
STEP_SECONDS = 1
ASKED_SECONDS_MAX = 30

# Queries that a healthy demo has no answer to, by a part of their text, and why.
EMPTY_IN_A_DEMO = {
    "offset 1d": "there is no yesterday",
    "ALERTS{": "nothing may fire",
    "changes(process_start_time_seconds": "nothing has been started again",
    "floor($fee": "the sums of ended sessions are there before they are seen to grow; agree.py has the figure",
}


class Refused(Exception):
    """Prometheus or the ledger does not answer a query."""


class Prometheus:
    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")

    def get(self, path: str, **parameters: str):
        url = f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=ASKED_SECONDS_MAX) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise Refused(json.load(error)["error"]) from None

    def instant(self, query: str, at: float) -> list[dict]:
        return self.get("query", query=query, time=f"{at:.3f}")["result"]

    def range(self, query: str, start: float, end: float, step: float) -> list[dict]:
        return self.get(
            "query_range", query=query, start=f"{start:.3f}", end=f"{end:.3f}", step=str(step)
        )["result"]


class Ledger:
    """The ledger's database, a file, as Grafana reads it."""

    def __init__(self, path: str) -> None:
        self.connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
        self.connection.row_factory = sqlite3.Row

    def rows(self, sql: str, start: float, end: float, **values: str) -> list[dict]:
        text = in_time(sql, start, end, values)
        try:
            return [dict(row) for row in self.connection.execute(text)]
        except sqlite3.Error as error:
            raise Refused(str(error)) from None


class Postgresql:
    """The same on PostgreSQL, asked by `psql`."""

    def __init__(self, url: str) -> None:
        self.url = url

    def rows(self, sql: str, start: float, end: float, **values: str) -> list[dict]:
        command = ["psql", "-X", "--csv", "-v", "ON_ERROR_STOP=1", "-d", self.url, "-c", in_time(sql, start, end, values)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise Refused(done.stderr)
        return [{name: number(text) for name, text in row.items()} for row in csv.DictReader(io.StringIO(done.stdout))]


def number(text: str) -> str | int | float | None:
    if not text:
        return None
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return text


def in_time(sql: str, start: float, end: float, values: dict) -> str:
    """The query as Grafana sends it."""
    times = {"__from": str(int(start * 1000)), "__to": str(int(end * 1000))}
    return files.fill(sql, files.VALUES | values | times)


def of_the_ledger(engine: str, address: str, start: float, end: float) -> dict[str, list[dict]]:
    """What each panel and annotation that asks the ledger gets of one that is on `engine`."""
    ledger = {"sqlite": Ledger, "postgresql": Postgresql}[engine](address)
    found = {}
    for path, text in generate.written({"sqlite": generate.SQLITE, "postgresql": generate.POSTGRESQL}[engine]).items():
        dashboard = json.loads(text)
        for query in files.annotations_of_the_ledger(path.stem, dashboard):
            found[query.where] = ledger.rows(query.text, start, end)
        for panel in files.panels(path.stem, dashboard):
            for query in panel.sql:
                found[query.where] = ledger.rows(query.text, panel.start(start, end), end)
    return found


def answer(prometheus: Prometheus, query: files.Query, start: float, end: float, step: float, **values: str):
    """What Grafana would get for a panel's query: series over time, or of now."""
    text = query.filled(**SHORT | values)
    if query.instant:
        return prometheus.instant(text, end)
    return prometheus.range(text, start, end, step)


def problems(url: str, ledger_file: str) -> tuple[list[str], str]:
    prometheus, ledger = Prometheus(url), Ledger(ledger_file)
    end = time.time()
    start = end - 120
    found, asked, with_answer = [], 0, 0
    for query in files.rules():
        asked += 1
        try:
            # The rule as it is shipped; whether it has an answer depends on what is wrong.
            prometheus.instant(query.filled(), end)
        except Refused as error:
            found.append(f"{query.where}: {error}")
    for group in prometheus.get("rules")["groups"]:
        for rule in group["rules"]:
            if rule["health"] == "err":
                found.append(f"{rule['name']}: {rule['lastError']}")
    for name, board in files.boards().items():
        for query in files.other_queries(name, board):
            asked += 1
            try:
                answer(prometheus, query, start, end, STEP_SECONDS)
            except Refused as error:
                found.append(f"{query.where}: {error}")
        for query in files.annotations_of_the_ledger(name, board):
            asked += 1
            try:
                ledger.rows(query.text, start, end)
            except Refused as error:
                found.append(f"{query.where}: {error}\n    {query.text}")
        for panel in files.panels(name, board):
            for query in panel.queries:
                asked += 1
                try:
                    series = answer(prometheus, query, start, end, STEP_SECONDS)
                except Refused as error:
                    found.append(f"{query.where}: {error}\n    {query.text}")
                    continue
                with_answer += bool(series)
                if not series and not any(part in query.text for part in EMPTY_IN_A_DEMO):
                    found.append(f"{query.where}: no answer to\n    {query.text}")
                found += unknown_labels(query, series)
            for query in panel.sql:
                asked += 1
                try:
                    rows = ledger.rows(query.text, panel.start(start, end), end)
                except Refused as error:
                    found.append(f"{query.where}: {error}\n    {query.text}")
                    continue
                with_answer += bool(rows)
                if not rows:
                    found.append(f"{query.where}: the ledger has no answer to\n    {query.text}")
    return found, f"{asked} queries, {with_answer} of panels with an answer"


def unknown_labels(query: files.Query, series: list[dict]) -> list[str]:
    """Labels of a legend that no series has."""
    wanted = set(re.findall(r"{{(\w+)}}", query.legend))
    there = {label for each in series for label in each["metric"]}
    return [f"{query.where}: no series has `{label}`" for label in sorted(wanted - there) if series]
