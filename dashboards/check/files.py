"""What is checked: dashboards, rules and alerts, as their files have them, and where each query stands."""

import datetime
import json
import pathlib
import re
from dataclasses import dataclass, field

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
DASHBOARDS = ROOT / "dashboards" / "grafana"
RULES = ROOT / "dashboards" / "rules"

# What Grafana puts into a query, for the demo: everything that can be chosen, or one value of it.
VALUES = {
    "__rate_interval": "1m",
    "__range": "1h",
    "__interval": "15s",
    "job": ".+",
    "instance": ".+",
    "upstream": ".+",
    "model": ".+",
    "currency": "USD",
    "customer": "acme",
    "fee": "20",
    "session": "acme-query-rewrite",
    "session_customer": "acme",
    "console": "http://127.0.0.1:8081",
    "runbooks": "docs/operations.md",
}


@dataclass
class Query:
    """One question to Prometheus or the ledger, with its variables as Grafana has them."""

    where: str
    text: str
    legend: str = ""
    instant: bool = True
    # What a recorded rule is called.
    record: str | None = None
    alert: dict | None = None

    def filled(self, **values: str) -> str:
        return fill(self.text, VALUES | values)


@dataclass
class Panel:
    board: str
    json: dict
    queries: list[Query] = field(default_factory=list)
    sql: list[Query] = field(default_factory=list)

    @property
    def where(self) -> str:
        return f"{self.board}: {self.json.get('title', '?')}"

    def start(self, start: float, end: float) -> float:
        """When the panel's own time begins, where the dashboard's begins at `start`."""
        match self.json.get("timeFrom"):
            case None:
                return start
            case "now/M":
                now = datetime.datetime.fromtimestamp(end, datetime.UTC)
                return datetime.datetime(now.year, now.month, 1, tzinfo=datetime.UTC).timestamp()
            case other:
                raise ValueError(f"{self.where}: a time of {other}")


def fill(text: str, values: dict[str, str]) -> str:
    """`text` with the value of each variable; an unknown variable stays, and will not parse."""
    text = re.sub(r"\$\{(\w+):sqlstring\}", lambda m: quoted(values[m[1]]), text)
    return re.sub(
        r"\$(?:\{(\w+)\}|(\w+))", lambda m: values.get(m[1] or m[2], m[0]), text
    )


def quoted(value: str) -> str:
    """A text of SQL."""
    return "'" + value.replace("'", "''") + "'"


def boards() -> dict[str, dict]:
    found = {p.stem: json.loads(p.read_text(encoding="utf-8")) for p in sorted(DASHBOARDS.glob("*.json"))}
    assert found, f"no dashboard in {DASHBOARDS}"
    return found


def placed(dashboard: dict) -> list[dict]:
    """All panels and headings of rows, those in collapsed rows too."""
    return [each for panel in dashboard["panels"] for each in (panel, *panel.get("panels", []))]


def opened(dashboard: dict) -> dict:
    """The dashboard with every row opened."""
    shown, moved = [], 0
    for each in dashboard["panels"]:
        for panel in placed({"panels": [each]}):
            shown.append(panel | {"gridPos": panel["gridPos"] | {"y": panel["gridPos"]["y"] + moved}, "panels": []})
        if inner := [panel["gridPos"] for panel in each.get("panels", [])]:
            moved += max(at["y"] + at["h"] for at in inner) - each["gridPos"]["y"] - 1
    return dashboard | {"panels": shown}


def panels(board: str, dashboard: dict) -> list[Panel]:
    """All panels but the headings of rows."""
    found = []
    for each in placed(dashboard):
        if each["type"] == "row":
            continue
        panel = Panel(board, each)
        for target in each.get("targets", []):
            if "expr" in target:
                panel.queries.append(
                    Query(panel.where, target["expr"], target.get("legendFormat", ""), target.get("instant", False))
                )
            else:
                panel.sql.append(Query(panel.where, sql(target)))
        found.append(panel)
    return found


def sql(target: dict) -> str:
    """What a target asks the ledger, on either engine."""
    return target["queryText"] if "queryText" in target else target["rawSql"]


def other_queries(board: str, dashboard: dict) -> list[Query]:
    """Queries of annotations and variables."""
    found = []
    for each in dashboard["annotations"]["list"]:
        if "expr" in each:
            found.append(Query(f"{board}: annotation {each['name']}", each["expr"], each["textFormat"]))
    for each in dashboard["templating"]["list"]:
        if each["type"] == "query":
            series, label = re.fullmatch(r"label_values\((.*), (\w+)\)", each["definition"]).groups()
            found.append(Query(f"{board}: variable {each['name']}", series, "{{%s}}" % label))
    return found


def links(dashboard: dict) -> list[str]:
    """Where the dashboard itself leads."""
    return [each["url"] for each in dashboard["links"] if "url" in each]


def links_of_panel(panel: dict) -> list[str]:
    """Where a panel, its series and the cells of its columns lead."""
    config = panel["fieldConfig"]
    of_columns = [
        each["value"] for override in config["overrides"] for each in override["properties"] if each["id"] == "links"
    ]
    of_series = config["defaults"].get("links", [])
    return [link["url"] for link in sum(of_columns, panel.get("links", []) + of_series)]


def annotations_of_the_ledger(board: str, dashboard: dict) -> list[Query]:
    return [
        Query(f"{board}: annotation {each['name']}", sql(each["target"]))
        for each in dashboard["annotations"]["list"]
        if "target" in each
    ]


def rule_files() -> list[pathlib.Path]:
    return sorted(RULES.glob("*.yml"))


def rules() -> list[Query]:
    """Recording rules first: alerts stand on them."""
    found = []
    for path in rule_files():
        for group in yaml.safe_load(path.read_text(encoding="utf-8"))["groups"]:
            for rule in group["rules"]:
                where = f"{path.name}: {rule.get('record') or rule['alert']}"
                alert = rule if "alert" in rule else None
                found.append(Query(where, rule["expr"], record=rule.get("record"), alert=alert))
    return sorted(found, key=lambda query: query.record is None)


def every_query() -> list[Query]:
    """All that is asked of Prometheus."""
    found = rules()
    for board, dashboard in boards().items():
        found += other_queries(board, dashboard)
        for panel in panels(board, dashboard):
            found += panel.queries
    return found
