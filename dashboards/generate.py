#!/usr/bin/env python3
"""Writes dashboards/grafana/*.json from dashboards/boards/*.toml.

    python3 dashboards/generate.py                      writes the files, for a ledger on SQLite
    python3 dashboards/generate.py --check              says which files are not what their boards give
    python3 dashboards/generate.py --sqlite FOLDER      writes them to FOLDER
    python3 dashboards/generate.py --postgresql FOLDER  writes them to FOLDER, for a ledger on PostgreSQL
    python3 dashboards/generate.py --rules FOLDER --runbooks URL  writes the rules, too or alone, with such links

With `--console URL` and `--runbooks URL` links lead to your console and API and to where you publish docs/operations.md.

A board says what is asked and how it is shown; what every panel and every dashboard has in common
(data sources, variables, annotations, links, legends, tooltips) is here, once. Needs nothing but Python 3.11.

What a panel leads to: `alerts` to their runbooks, `api` to a list of the API, `board` to another dashboard, and
`customers` from each customer in it to that customer's dashboard. A column's `link` leads to a dashboard, its `page`
to the console.

In a query of Prometheus, `@` stands for the selector of the chosen installation and instances, and `@job` for
that of the installation alone, which recorded rules have. One of the ledger is in the SQL that both engines
have; `@month_end` stands for the end of the month that begins with the panel's time, in microseconds, and
`@position` for the function that tells where in a text another one begins, 0 for nowhere.
"""

import argparse
import dataclasses
import json
import pathlib
import sys
import tomllib

import shapes

HERE = pathlib.Path(__file__).resolve().parent
BOARDS = HERE / "boards"
RULES = HERE / "rules"
DASHBOARDS = HERE / "grafana"

# The schema of Grafana 12; an older one takes what it knows, a newer one migrates.
SCHEMA_VERSION = 42
GRID_WIDTH = 24
METRICS = {"type": "prometheus", "uid": "${datasource}"}
AT_JOB = 'job=~"$job"'
AT = AT_JOB + ',instance=~"$instance"'
# A customer's dashboard, from a series of that customer.
OF_CUSTOMER = "/d/permille-customer?var-customer=${__field.labels.customer}&var-currency=$currency&${__url_time_range}"


@dataclasses.dataclass(frozen=True)
class Places:
    """Where links lead, outside Grafana; who reads a dashboard may say otherwise."""

    # The API's base.
    console: str = "http://127.0.0.1:8081"
    # The page with a section for each alert.
    runbooks: str = "docs/operations.md"


@dataclasses.dataclass(frozen=True)
class Ledger:
    """How Grafana asks the ledger on one engine."""

    # The data source's type.
    kind: str
    month_end: str
    position: str

    @property
    def source(self) -> dict:
        return {"type": self.kind, "uid": "${ledger}"}

    def sql(self, text: str) -> str:
        text = " ".join(text.split())
        return text.replace("@month_end", self.month_end).replace("@position", self.position)

    def target(self, ref: str, text: str) -> dict:
        raise NotImplementedError


class Sqlite(Ledger):
    def target(self, ref: str, text: str) -> dict:
        sql = self.sql(text)
        return {
            "refId": ref,
            "datasource": self.source,
            "queryType": "table",
            "queryText": sql,
            "rawQueryText": sql,
            # Seconds; other times are milliseconds, by their unit.
            "timeColumns": ["time"],
        }


class Postgresql(Ledger):
    def target(self, ref: str, text: str) -> dict:
        return {
            "refId": ref,
            "datasource": self.source,
            "format": "table",
            "rawQuery": True,
            "editorMode": "code",
            "rawSql": self.sql(text),
        }


SQLITE = Sqlite(
    "frser-sqlite-datasource",
    "cast(strftime('%s', $__from / 1000, 'unixepoch', '+1 month') as bigint) * 1000000",
    "instr",
)
POSTGRESQL = Postgresql(
    "grafana-postgresql-datasource",
    "cast(extract(epoch from to_timestamp($__from / 1000) at time zone 'UTC' + interval '1 month') as bigint) * 1000000",
    "strpos",
)


def selected(query: str) -> str:
    return query.strip().replace("@job", AT_JOB).replace("@", AT)


def dashboard(board: dict, ledger: Ledger, places: Places) -> dict:
    return {
        "uid": board["uid"],
        "title": board["title"],
        "description": board["description"],
        "tags": ["permille", *board.get("tags", [])],
        "schemaVersion": SCHEMA_VERSION,
        "version": 1,
        "timezone": board.get("timezone", "browser"),
        # Changes belong into the board: a provisioned dashboard is overwritten.
        "editable": False,
        "graphTooltip": 1,
        "refresh": board.get("refresh", "1m"),
        "time": {"from": board.get("from", "now-6h"), "to": "now"},
        "links": [links_to_the_others(), link_to_runbooks()],
        "annotations": {"list": annotations(ledger)},
        "templating": {"list": variables(board, ledger, places)},
        "panels": panels(board["row"], ledger),
    }


def links_to_the_others() -> dict:
    return {
        "type": "dashboards",
        "title": "Permille",
        "icon": "external link",
        "tooltip": "",
        "tags": ["permille"],
        "asDropdown": True,
        "includeVars": True,
        "keepTime": True,
        "targetBlank": False,
    }


def link_to_runbooks() -> dict:
    return {
        "type": "link",
        "title": "Runbooks",
        "icon": "doc",
        "tooltip": "What to do on an alert",
        "url": "$runbooks#alerts",
        "tags": [],
        "asDropdown": False,
        "includeVars": False,
        "keepTime": False,
        "targetBlank": True,
    }


def annotations(ledger: Ledger) -> list[dict]:
    """What has changed: deploys, prices, and what is wrong meanwhile. The same on every dashboard."""

    def of_metrics(name: str, color: str, expr: str, title: str, text: str) -> dict:
        return {
            "name": name,
            "enable": True,
            "hide": False,
            "iconColor": color,
            "datasource": METRICS,
            "expr": selected(expr),
            "step": "60s",
            "titleFormat": title,
            "textFormat": text,
        }

    return [
        of_metrics(
            "Starts and deploys",
            "blue",
            "permille_build_info{@} and on (job, instance) (changes(process_start_time_seconds{@}[1m]) > 0)",
            "start",
            "{{instance}} has been started, version {{version}}",
        ),
        of_metrics(
            "Alerts",
            "red",
            'ALERTS{@job,alertname=~"Permille.*",alertstate="firing",severity!="info"}',
            "{{alertname}}",
            "{{instance}} {{upstream}} {{customer}} {{severity}}",
        ),
        {
            "name": "Prices",
            "enable": True,
            "hide": False,
            "iconColor": "purple",
            "datasource": ledger.source,
            "target": ledger.target(
                "A",
                "select from_at / 1000000 as time, 'price' as title,"
                " model || ' in ' || currency || ', version ' || version as text"
                " from price where from_at between $__from * 1000 and $__to * 1000",
            )
            | {"limit": 100, "matchAny": False, "tags": [], "type": "dashboard"},
        },
    ]


def variables(board: dict, ledger: Ledger, places: Places) -> list[dict]:
    def data_source(name: str, label: str, kind: str, uid: str, description: str) -> dict:
        return {
            "type": "datasource",
            "name": name,
            "label": label,
            "description": description,
            "query": kind,
            "current": {"text": uid, "value": uid, "selected": False},
            "hide": 0,
            "includeAll": False,
            "multi": False,
            "refresh": 1,
            "regex": "",
        }

    found = [
        data_source(
            "datasource", "Data source", "prometheus", "permille-prometheus",
            "The Prometheus that scrapes Permille.",
        ),
        label("job", "Installation", 'up{job=~"permille.*"}', "job", True,
              "One installation is one job of Prometheus."),
        label("instance", "Instance", 'up{job=~"$job"}', "instance", True,
              "Gateways and billings of the installation."),
    ]
    texts = {
        "fee": [("fee", "Flat fee", "A monthly fee that sessions are compared with, in the currency.", "20")],
        "session": [
            ("session", "Session", "Whose turns are listed; a session's link fills it.", ""),
            ("session_customer", "Session's customer", "Sessions have one name at one customer.", ""),
        ],
    }
    for name in board.get("variables", []):
        if name in texts:
            found += [textbox(*each) for each in texts[name]]
            continue
        found.append(
            {
                "currency": label("currency", "Currency", "permille_cost_total{@job}", "currency", False,
                                  "Amounts of different currencies are never added up."),
                "customer": label("customer", "Customer", "permille_cost_total{@job}", "customer", False,
                                  "Customers beyond the 500th are `other`."),
                "model": label("model", "Model", "permille_tokens_total{@job}", "model", True,
                               "Models as the price book names them."),
                "upstream": label("upstream", "Upstream", "permille_retries_total{@job}", "upstream", True,
                                  "Upstreams of the configuration."),
            }[name]
        )
    return [
        *found,
        data_source(
            "ledger", "Ledger", ledger.kind, "permille-ledger",
            "The ledger's database, for what must not be a label.",
        ),
        textbox("console", "Console", "Where the console and the API are, for links to them.", places.console),
        textbox("runbooks", "Runbooks", "Where docs/operations.md is published, for links to it.", places.runbooks),
    ]


def textbox(name: str, title: str, description: str, value: str) -> dict:
    return {
        "type": "textbox",
        "name": name,
        "label": title,
        "description": description,
        "query": value,
        "current": {"text": value, "value": value, "selected": False},
        "hide": 0,
    }


def label(name: str, title: str, series: str, of: str, many: bool, description: str) -> dict:
    query = f"label_values({selected(series)}, {of})"
    variable = {
        "type": "query",
        "name": name,
        "label": title,
        "description": description,
        "datasource": METRICS,
        "definition": query,
        "query": {"qryType": 1, "query": query, "refId": "StandardVariableQuery"},
        # On a change of the time range too.
        "refresh": 2,
        "sort": 1,
        "regex": "",
        "hide": 0,
        "multi": many,
        "includeAll": many,
    }
    if many:
        variable |= {
            "allValue": ".+",
            "current": {"text": ["All"], "value": ["$__all"], "selected": True},
        }
    return variable


def panels(rows: list[dict], ledger: Ledger) -> list[dict]:
    """All panels, placed from left to right and from top to bottom, each row under its heading. Those of a row that
    is collapsed are in its heading, at the place where they are once it is opened."""
    found: list[dict] = []
    y = count = 0

    def place(into: list[dict], panel: dict, x: int, y: int, width: int, height: int) -> None:
        nonlocal count
        count += 1
        grid = {"x": x, "y": y, "w": width, "h": height}
        into.append({"id": count, "gridPos": grid} | panel)

    for row in rows:
        is_collapsed = row.get("collapsed", False)
        heading = {"type": "row", "title": row["title"], "collapsed": is_collapsed, "panels": []}
        place(found, heading, 0, y, GRID_WIDTH, 1)
        y += 1
        top, into = y, heading["panels"] if is_collapsed else found
        x = height = 0
        for wanted in row["panel"]:
            width, tall = map(int, wanted["size"].split("x"))
            if x + width > GRID_WIDTH:
                x, y, height = 0, y + height, 0
            place(into, panel(wanted, ledger), x, y, width, tall)
            x += width
            height = max(height, tall)
        y = top if is_collapsed else y + height
    return found


def panel(wanted: dict, ledger: Ledger) -> dict:
    kind = wanted["kind"]
    defaults = {
        "unit": wanted["unit"],
        "color": {"mode": "thresholds" if "steps" in wanted else "palette-classic"},
        "thresholds": thresholds(wanted),
        "mappings": [],
    }
    for name in ("min", "max", "decimals"):
        if name in wanted:
            defaults[name] = wanted[name]
    if wanted.get("no_value"):
        defaults["noValue"] = wanted["no_value"]
    made = {
        "type": kind,
        "title": wanted["title"],
        "description": wanted["description"],
        "datasource": ledger.source if "sql" in wanted else METRICS,
        "links": links(wanted),
        "targets": targets(wanted, ledger),
        "fieldConfig": {"defaults": defaults, "overrides": overrides(wanted)},
        "options": {},
    }
    if wanted.get("customers"):
        defaults["links"] = [{"title": "This customer", "url": OF_CUSTOMER, "targetBlank": False}]
    if "from" in wanted:
        # A time of the panel's own, such as `now/M`: this month so far.
        made["timeFrom"] = wanted["from"]
    shapes.SHAPES[kind](wanted, made, defaults)
    return made


def links(wanted: dict) -> list[dict]:
    """From a panel to what to do about it, and to what lies behind it."""
    runbooks = [(f"Runbook: {name}", f"$runbooks#{name.lower()}") for name in wanted.get("alerts", [])]
    found = [{"title": title, "url": url, "targetBlank": True} for title, url in runbooks]
    if "api" in wanted:
        found.append({"title": "In the API", "url": f"$console/api/v1/{wanted['api']}", "targetBlank": True})
    if "board" in wanted:
        url = f"/d/{wanted['board']}?var-currency=$currency&${{__url_time_range}}"
        found.append({"title": "What conversations cost", "url": url, "targetBlank": False})
    return found


def thresholds(wanted: dict) -> dict:
    steps = [{"color": "green", "value": None}]
    for value, color in wanted.get("steps", []):
        steps.append({"color": color, "value": value})
    return {"mode": "absolute", "steps": steps}


def overrides(wanted: dict) -> list[dict]:
    """Colours that mean something, and the units and links of a table's columns."""
    found = []
    for name, color in wanted.get("colors", {}).items():
        properties = [{"id": "color", "value": {"mode": "fixed", "fixedColor": color}}]
        found.append(override(name, properties))
    for name, column in wanted.get("columns", {}).items():
        properties = [{"id": key, "value": column[key]} for key in ("unit", "decimals") if key in column]
        if "link" in column:
            link = {"title": column["link_title"], "url": column["link"], "targetBlank": False}
            links = [link]
            if "page" in column:
                url = f"$console/{column['page']}"
                links.append({"title": "In the console", "url": url, "targetBlank": True})
            properties.append({"id": "links", "value": links})
        found.append(override(name, properties))
    return found


def override(name: str, properties: list[dict]) -> dict:
    return {"matcher": {"id": "byName", "options": name}, "properties": properties}


def targets(wanted: dict, ledger: Ledger) -> list[dict]:
    if "sql" in wanted:
        return [ledger.target("A", wanted["sql"])]
    instant = wanted["kind"] in ("table", "bargauge", "barchart", "piechart") or wanted.get("instant")
    found = []
    for index, query in enumerate(wanted["queries"]):
        target = {
            "refId": chr(ord("A") + index),
            "datasource": METRICS,
            "editorMode": "code",
            "expr": selected(query["q"]),
            "legendFormat": query["as"],
        }
        if instant:
            target |= {"instant": True, "range": False}
        else:
            target |= {"instant": False, "range": True}
        if wanted["kind"] == "heatmap":
            target["format"] = "heatmap"
        elif wanted["kind"] in ("table", "barchart"):
            target["format"] = "table"
        found.append(target)
    return found


def written(
    ledger: Ledger = SQLITE, folder: pathlib.Path = DASHBOARDS, places: Places = Places()
) -> dict[pathlib.Path, str]:
    """The files that the boards give, with their text."""
    files = {}
    for path in sorted(BOARDS.glob("*.toml")):
        board = tomllib.loads(path.read_text(encoding="utf-8"))
        text = json.dumps(dashboard(board, ledger, places), ensure_ascii=False, indent=2) + "\n"
        files[folder / f"{path.stem}.json"] = text
    return files


def rules(folder: pathlib.Path, places: Places) -> dict[pathlib.Path, str]:
    """The files of rules, whose alerts lead to where their runbooks are published."""
    return {
        folder / path.name: path.read_text(encoding="utf-8").replace(
            f"runbook_url: {Places.runbooks}#", f"runbook_url: {places.runbooks}#"
        )
        for path in sorted(RULES.glob("*.yml"))
    }


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--check", action="store_true", help="write nothing; fail on a difference")
    to = arguments.add_mutually_exclusive_group()
    to.add_argument("--sqlite", metavar="FOLDER", type=pathlib.Path, help="for a ledger in a file")
    to.add_argument("--postgresql", metavar="FOLDER", type=pathlib.Path, help="for a ledger on PostgreSQL")
    arguments.add_argument("--rules", metavar="FOLDER", type=pathlib.Path, help="where to write the rules")
    arguments.add_argument("--console", metavar="URL", default=Places.console, help="where the console and the API are")
    arguments.add_argument("--runbooks", metavar="URL", default=Places.runbooks, help="where operations.md is")
    wanted = arguments.parse_args()
    places = Places(wanted.console, wanted.runbooks)
    folder = wanted.sqlite or wanted.postgresql or DASHBOARDS
    if folder == DASHBOARDS and places != Places() and not wanted.rules:
        arguments.error("--console and --runbooks: say with --sqlite, --postgresql or --rules where to write")
    is_own = folder == DASHBOARDS and wanted.rules
    files = {} if is_own else written(POSTGRESQL if wanted.postgresql else SQLITE, folder, places)
    if wanted.rules:
        files |= rules(wanted.rules, places)
    if not wanted.check:
        for path, text in files.items():
            path.parent.mkdir(exist_ok=True, parents=True)
            path.write_text(text, encoding="utf-8")
        return 0
    there = {path: path.read_text(encoding="utf-8") for path in folder.glob("*.json")}
    wrong = sorted(path.name for path in files.keys() | there.keys() if files.get(path) != there.get(path))
    if wrong:
        print(f"run dashboards/generate.py: {', '.join(wrong)} differ from dashboards/boards/", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
