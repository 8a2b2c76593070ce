"""House rules of dashboards, rules and alerts: those of monitoring mixins, and our own.

The rules of https://github.com/grafana/dashboard-linter, which needs Grafana's own code, are checked here by
their names: template-datasource-rule, template-job-rule, template-instance-rule, template-label-promql-rule
(the queries of variables parse and name what is exported: names.py), template-on-time-change-reload-rule,
panel-datasource-rule, panel-title-description-rule, panel-units-rule, panel-no-targets-rule, target-promql-rule,
target-rate-interval-rule, target-job-rule, target-instance-rule, target-counter-agg-rule, uneditable-dashboard.
Ours is stricter: titles are unique, legends are stated, nothing overlaps.

Exceptions, by their reason: recorded rules have no instance (target-instance-rule); what asks the ledger is no
PromQL and has no instance (target-promql-rule, target-job-rule, target-instance-rule).
"""

import datetime
import functools
import re

import promql_parser as promql
import yaml

import files
import screen

COUNTERS = ("_total", "_bucket", "_sum", "_count")
OF_COUNTERS = {"rate", "irate", "increase", "changes", "resets", "delta"}
SEVERITIES = {"page", "ticket", "info"}
# What happens to an installation is seen on every dashboard, by the metric that tells it.
ANNOTATED = {"process_start_time_seconds": "starts and deploys", "ALERTS": "alerts"}
RECORDED = re.compile(r"(\w+:)?permille[\w]*:\w+(:\w+)?")
# Over less than this a panel asks by `$__rate_interval`, which follows its width and the scrape interval.
FIXED_WINDOW_MIN = datetime.timedelta(hours=1)


def problems() -> list[str]:
    found, uids, titles = [], set(), set()
    for board, dashboard in files.boards().items():
        found += of_dashboard(board, dashboard)
        for seen, key in ((uids, "uid"), (titles, "title")):
            if dashboard[key] in seen:
                found.append(f"{board}: {key} `{dashboard[key]}` is used twice")
            seen.add(dashboard[key])
    return found + of_rules(uids)


def of_dashboard(board: str, dashboard: dict) -> list[str]:
    found = []

    def rule(holds: bool, text: str) -> None:
        if not holds:
            found.append(f"{board}: {text}")

    rule(dashboard["uid"] == f"permille-{board}", "the uid follows from the file's name")
    rule(bool(dashboard.get("description")), "a dashboard says what it is for")
    rule("permille" in dashboard["tags"], "the tag `permille` links dashboards")
    rule(dashboard.get("editable") is False, "uneditable-dashboard: a provisioned dashboard is not editable")
    rule("id" not in dashboard, "the id is Grafana's")
    variables = {each["name"]: each for each in dashboard["templating"]["list"]}
    for name in ("datasource", "job", "instance"):
        rule(name in variables, f"template-{name}-rule: variable `{name}` is missing")
    for name, each in variables.items():
        rule(bool(each.get("label")) and bool(each.get("description")), f"variable `{name}` has label and description")
        if each["type"] == "query":
            rule(each["refresh"] == 2, f"template-on-time-change-reload-rule: variable `{name}` follows the time range")
            rule(each["datasource"]["uid"] == "${datasource}", f"variable `{name}` asks the chosen data source")
            if each["includeAll"]:
                rule(each.get("allValue") == ".+", f"variable `{name}`: all is `.+`")
    text = str(dashboard["panels"]) + str(dashboard["annotations"]) + str(dashboard["links"])
    for name in variables:
        rule(f"${name}" in text or "${%s}" % name in text, f"variable `{name}` is not used")
    asked = [each["expr"] for each in dashboard["annotations"]["list"] if "expr" in each]
    for metric, what in ANNOTATED.items():
        rule(any(metric in text for text in asked), f"there is no annotation for {what}")
    of_prices = [query for query in files.annotations_of_the_ledger(board, dashboard) if " from price " in query.text]
    rule(bool(of_prices), "there is no annotation for price changes")
    linked = files.links(dashboard)
    rule("$runbooks#alerts" in linked, "there is no link to the runbooks")
    for panel in files.panels(board, dashboard):
        linked += files.links_of_panel(panel.json)
    found += [f"{board}: {text}" for link in linked for text in of_link(link)]
    ids = [each["id"] for each in files.placed(dashboard)]
    rule(len(ids) == len(set(ids)), "ids of panels are unique")
    names = [each["title"] for each in files.placed(dashboard) if each["type"] != "row"]
    rule(len(names) == len(set(names)), "titles of panels are unique")
    found += overlaps(board, dashboard["panels"])
    for row in dashboard["panels"]:
        found += overlaps(board, row.get("panels", []))
    found += screen.problems(board, dashboard)
    for panel in files.panels(board, dashboard):
        found += of_panel(panel)
    for query in files.other_queries(board, dashboard):
        found += of_query(query)
    return found


def of_link(link: str) -> list[str]:
    """A link leads to a runbook, to the console, to the API or to another dashboard, and that is there."""
    if link.startswith("$runbooks#"):
        anchor = link.removeprefix("$runbooks#")
        return [] if anchor in anchors() else [f"link `{link}` leads to no section of docs/operations.md"]
    if link.startswith(("$console/api/v1/", "$console/sessions/")):
        # tests/dashboards.rs follows it.
        return []
    uid = re.match(r"/d/([\w-]+)\?", link)
    known = {dashboard["uid"] for dashboard in files.boards().values()}
    return [] if uid and uid[1] in known else [f"link `{link}` leads nowhere"]


@functools.cache
def anchors() -> frozenset[str]:
    """The sections of docs/operations.md, as links have them."""
    return frozenset(re.sub(r"[^\w -]", "", each.lower()).replace(" ", "-") for each in headings())


@functools.cache
def headings() -> tuple[str, ...]:
    text = (files.ROOT / "docs/operations.md").read_text(encoding="utf-8")
    return tuple(re.findall(r"^#+ (.*)$", text, re.MULTILINE))


def overlaps(board: str, panels: list[dict]) -> list[str]:
    taken: dict[tuple[int, int], str] = {}
    found = []
    for panel in panels:
        at = panel["gridPos"]
        if at["x"] + at["w"] > 24:
            found.append(f"{board}: {panel['title']}: wider than the grid")
        for cell in ((x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])):
            if cell in taken:
                found.append(f"{board}: {panel['title']} lies over {taken[cell]}")
                break
            taken[cell] = panel["title"]
    return found


def of_panel(panel: files.Panel) -> list[str]:
    found, json = [], panel.json

    def rule(holds: bool, text: str) -> None:
        if not holds:
            found.append(f"{panel.where}: {text}")

    rule(bool(json.get("title")), "panel-title-description-rule: a panel has a title")
    rule(json.get("description", "").endswith("."), "panel-title-description-rule: a panel has a description, in sentences")
    defaults = json["fieldConfig"]["defaults"]
    rule(bool(defaults.get("unit")), "panel-units-rule: a panel has a unit")
    rule(json["datasource"]["uid"] in ("${datasource}", "${ledger}"), "panel-datasource-rule: the data source is a variable")
    rule(bool(json.get("targets")), "panel-no-targets-rule: a panel has a target")
    refs = [each["refId"] for each in json.get("targets", [])]
    rule(len(refs) == len(set(refs)), "references of targets are unique")
    for target in json.get("targets", []):
        rule(target["datasource"] == json["datasource"], "a target asks the panel's data source")
    for query in panel.queries:
        rule(bool(query.legend), "every series has a legend")
        found += of_query(query)
    for query in panel.sql:
        is_of_time = "$__from" in query.text or "from invoice" in query.text
        rule(is_of_time or "${session:sqlstring}" in query.text, "a list of the ledger follows the time range")
        rule(query.text.startswith("select "), "the ledger is only read")
        rule(" limit " in query.text or " group by " in query.text, "a list of the ledger is bounded")
    return found


def of_query(query: files.Query) -> list[str]:
    """Rules for a query of a dashboard."""
    found = []
    for selector, function, window in selectors(promql.parse(query.filled(__rate_interval="7m", __range="8d"))):
        name = selector.name
        matched = {matcher.name for matcher in selector.matchers.matchers}
        is_ours = name.startswith(("permille_", "process_"))
        if is_ours and not {"job", "instance"} <= matched and "variable" not in query.where:
            found.append(f"{query.where}: `{name}` is not selected by job and instance (target-job-rule, target-instance-rule)")
        if ":" in name and name != "permille:error_budget:ratio" and "job" not in matched:
            found.append(f"{query.where}: `{name}` is not selected by job (target-job-rule)")
        if is_ours and name.endswith(COUNTERS) and function not in OF_COUNTERS and "variable" not in query.where:
            found.append(f"{query.where}: counter `{name}` without rate or increase (target-counter-agg-rule)")
        if window and function in {"rate", "increase", "irate"} and window < FIXED_WINDOW_MIN:
            if window != datetime.timedelta(minutes=7):
                found.append(f"{query.where}: a window of {window}, and not `$__rate_interval` (target-rate-interval-rule)")
    return found


def selectors(expr, function: str | None = None):
    """All selectors of a query, with the function that is applied to each and its window."""
    match expr:
        case promql.VectorSelector():
            yield expr, function, None
        case promql.MatrixSelector():
            yield expr.vector_selector, function, expr.range
        case promql.Call():
            for argument in expr.args:
                yield from selectors(argument, expr.func.name)
        case promql.BinaryExpr():
            yield from selectors(expr.lhs, function)
            yield from selectors(expr.rhs, function)
        case promql.AggregateExpr() | promql.ParenExpr() | promql.UnaryExpr() | promql.SubqueryExpr():
            yield from selectors(expr.expr, function)


def of_rules(uids: set[str]) -> list[str]:
    found = []
    linked = {
        (dashboard["uid"], link)
        for board, dashboard in files.boards().items()
        for panel in files.panels(board, dashboard)
        for link in files.links_of_panel(panel.json)
    }
    shown = (files.ROOT / "docs/dashboards.md").read_text(encoding="utf-8")
    tested, silent, told = tests_of_alerts()
    names = set()
    for query in files.rules():
        if query.record:
            if not RECORDED.fullmatch(query.record):
                found.append(f"{query.where}: a recorded name is level:permille_…:operation")
            continue
        rule = query.alert
        name, notes = rule["alert"], rule["annotations"]
        names.add(name)
        page, _, anchor = notes.get("runbook_url", "").partition("#")
        compared, ordered = zip(*told.get(name, [((), True)]))
        for holds, text in (
            (name.startswith("Permille"), "names of alerts begin with Permille"),
            (rule.get("labels", {}).get("severity") in SEVERITIES, f"severity is one of {sorted(SEVERITIES)}"),
            (bool(notes.get("summary")) and bool(notes.get("description")), "an alert has summary and description"),
            (page == "docs/operations.md" and anchor in anchors(), f"runbook `{anchor}` is no heading of operations.md"),
            (anchor == name.lower(), "an alert has a runbook of its own"),
            (notes.get("dashboard") in uids, f"dashboard `{notes.get('dashboard')}` does not exist"),
            ((notes.get("dashboard"), f"$runbooks#{anchor}") in linked, "no panel of its dashboard leads to its runbook"),
            (name in tested, "no test makes it fire"),
            (name in silent, "no test shows that it is silent before and afterwards"),
            (notes.keys() in compared, "no test has its labels and its texts with values"),
            (all(ordered) or ":permille" not in query.text, "a test of it evaluates groups in any order: group_eval_order"),
            (f"`{name}`" in shown, "docs/dashboards.md does not tell how it is shown to fire and clear"),
        ):
            if not holds:
                found.append(f"{query.where}: {text}")
    for heading in headings():
        if heading.startswith("Permille") and heading not in names | {"Permille"}:
            found.append(f"docs/operations.md: runbook `{heading}` of no alert")
    return found


def tests_of_alerts() -> tuple[set[str], set[str], dict[str, list]]:
    """Alerts that a promtool test makes fire, those that it shows silent before and afterwards, and the names of
    the annotations that it compares, with whether its groups have an order."""
    fired, silent, told = set(), set(), {}
    for path in (files.RULES / "tests").glob("*.yml"):
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
        for test in document["tests"]:
            looks = sorted(test["promql_expr_test"], key=lambda look: minutes(look["eval_time"]))
            expected = [re.findall(r'alertname="(\w+)"', str(look.get("exp_samples"))) for look in looks]
            names = set().union(*expected)
            fired |= names
            silent |= {name for name in names if name not in expected[0] and name not in expected[-1]}
            for alert in test.get("alert_rule_test", []):
                compared = [
                    (each["exp_annotations"].keys(), "group_eval_order" in document) for each in alert["exp_alerts"]
                ]
                told.setdefault(alert["alertname"], []).extend(compared)
    return fired, silent, told


def minutes(time: str) -> int:
    assert time.endswith("m"), f"a time of {time}: tests are in minutes"
    return int(time[:-1])


