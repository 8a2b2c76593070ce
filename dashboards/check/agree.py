"""Panels agree with the simulated provider's own books, to the last token.

A demo is over in a minute, and `rate` and `increase` are estimates at the edges of their window. So queries are
asked with all time for their window: `rate(x[w])` and `increase(x[w])` are `x`, a mean or the most over time is the
value, a recorded rule is its text. A panel per second, per minute or per hour then gives the whole, times the seconds
in it.
"""

import re
import time
from collections.abc import Callable
from pathlib import Path

import books
import expected
import expected_rules
import files
import live
from expected import EXPECTED, IDLE_SECONDS, NOT_IN_BOOKS, Asked, Rows, Series

# Until all has been booked, scraped and ended.
DEADLINE_SECONDS = 90
LOOK_EVERY_SECONDS = 1.0
# What floats lose.
RELATIVE = 1e-9
RECORDED = re.compile(r"\b\w*:permille\w*:\w+|\bpermille:\w+:\w+")


def for_all_time(text: str, rules: dict[str, str]) -> str:
    """A query that is asked for everything since the start."""
    while found := RECORDED.search(text):
        matchers = re.match(r"\{([^}]*)\}", text[found.end() :])
        rule = selected(rules[found[0]], matchers[1]) if matchers else rules[found[0]]
        text = f"{text[: found.start()]}({rule}){text[found.end() + (matchers.end() if matchers else 0) :]}"
    text = re.sub(r" offset 1d\b", "", text)
    while (shorter := of_the_whole(text)) != text:
        text = shorter
    return text


def selected(rule: str, matchers: str) -> str:
    """The text of a rule of what these matchers choose."""
    def more(selector: re.Match) -> str:
        own = f"{selector[2]}," if selector[2] else ""
        return f"{selector[1]}{{{own}{matchers}}}"

    return re.sub(r"\b((?:\w*:)?permille[\w:]*)(?:\{([^}]*?),?\s*\})?", more, rule)


def of_the_whole(text: str) -> str:
    """Without the innermost function over time."""
    function = re.search(r"\b(rate|increase|avg_over_time|max_over_time)\(", text)
    if not function:
        return text
    depth, place = 1, function.end()
    while depth:
        depth += {"(": 1, ")": -1}.get(text[place], 0)
        place += 1
    inside = re.sub(r"\[\w+\]$", "", text[function.end() : place - 1].strip())
    return f"{text[: function.start()]}({inside}){text[place:]}"


def problems(url: str, data: str) -> tuple[list[str], str]:
    """Looks until panels and books agree, or the deadline has passed."""
    prometheus, ledger = live.Prometheus(url), live.Ledger(str(Path(data) / "permille.db"))
    deadline = time.monotonic() + DEADLINE_SECONDS
    while True:
        try:
            of = books.read(data, IDLE_SECONDS)
            found, said = compared(of, prometheus, ledger)
        except books.Disagreement as error:
            found, said = [str(error)], ""
        if not found or time.monotonic() > deadline:
            return found, said
        time.sleep(LOOK_EVERY_SECONDS)


def compared(of: books.Books, prometheus: live.Prometheus, ledger: live.Ledger) -> tuple[list[str], str]:
    rules = {query.record: query.text for query in files.rules() if query.record}
    now = time.time()
    refused = {
        each["metric"]["code"]: int(each["value"][1])
        for each in prometheus.instant("sum by (code) (permille_requests_refused_total)", now)
    }
    found, queries = expected.unlisted() + expected_rules.unlisted(), 0
    for currency, customer in sorted({(call.currency, call.customer) for call in of.calls}):
        asked = Asked(of, currency, customer, refused, now)
        values = {"currency": currency, "customer": customer}
        for name, board in files.boards().items():
            for panel in files.panels(name, board):
                for query, give in zip(panel.queries + panel.sql, EXPECTED.get(panel.where, [])):
                    queries += 1
                    where = f"{panel.where} ({currency}, {customer})"
                    want = give(asked)
                    if isinstance(want, Rows):
                        rows = ledger.rows(query.text, panel.start(now - 86_400, now), now, **values)
                        found += of_rows(where, rows, want)
                    else:
                        text = for_all_time(query.filled(**values), rules)
                        found += of_series(where, text, prometheus.instant(text, now), want)
    for query in files.rules():
        name = query.record or query.alert["alert"]
        if give := expected_rules.EXPECTED.get(name):
            text = for_all_time(query.filled(), rules)
            found += of_series(query.where, text, prometheus.instant(text, now), give(asked))
    said = (
        f"{len(EXPECTED)} panels and {len(expected_rules.EXPECTED)} rules by the books of {len(of.calls)} calls, "
        f"{queries} queries, {len(NOT_IN_BOOKS)} panels not in books"
    )
    return found, said


def of_series(where: str, text: str, series: list[dict], want: Series) -> list[str]:
    got = {}
    for each in series:
        got[tuple(label(name, each["metric"].get(name, "")) for name in want.labels)] = float(each["value"][1])
    return differences(where, got, dict(want), lambda: text)


def label(name: str, value: str) -> str:
    return value if name != "le" or value == "+Inf" else f"{float(value):g}"


def of_rows(where: str, rows: list[dict], want: Rows) -> list[str]:
    """By key columns; a list is cut at its limit."""
    found = []
    seen = {tuple(row[name] for name in want.keys_of_rows): row for row in rows}
    if len(rows) < min(len(want), 20) or seen.keys() - want.keys():
        found.append(f"{where}: rows {sorted(seen)}, by the books {sorted(want)}")
    for key, row in seen.items():
        if columns := want.get(key):
            got = {(name,): row[name] for name in columns}
            found += differences(f"{where} {key}", got, {(name,): value for name, value in columns.items()}, str)
    return found


def differences(where: str, got: dict[tuple, float], want: dict[tuple, float], text: Callable[[], str]) -> list[str]:
    """Where a value differs; what is absent is 0."""
    wrong = []
    for key in sorted(got.keys() | want.keys()):
        value, by_books = got.get(key, 0.0), want.get(key, 0)
        least, most = map(float, by_books if isinstance(by_books, tuple) else (by_books, by_books))
        lost = RELATIVE * max(abs(value), abs(most), 1e-3)
        if not least - lost <= value <= most + lost:
            between = f"{least:g}" if least == most else f"{least:g} to {most:g}"
            wrong.append(f"{'/'.join(key) or 'value'} is {value:g}, by the books {between}")
    return [f"{where}: {'; '.join(wrong)}\n    {text()}"] if wrong else []
