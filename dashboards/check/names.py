"""Every metric and label that a dashboard, rule or alert names is one that the code exports.

What is exported is read from a real scrape, which has the labels, and must be in the list of
docs/operations.md, which a test keeps equal to the code. Labels are followed through a query: what an
aggregation drops cannot be matched on, shown in a legend or told in an alert.
"""

import re

import promql_parser as promql

from files import ROOT, Query, every_query

# Every target has them.
TARGET = {"job", "instance"}
# Prometheus' own.
BUILT_IN = {"up": set(TARGET)}
# Any alert's labels may be asked of it.
ALERTS = {
    "alertname", "alertstate", "severity", "upstream", "customer", "currency", "model", "direction",
} | TARGET
SUFFIXES = ("_bucket", "_sum", "_count")


class Unknown(Exception):
    """A query names something that is not there."""


def exported(scrape: str) -> dict[str, set[str]]:
    """Metrics of a scrape, with the labels of their series."""
    found: dict[str, set[str]] = {}
    for line in scrape.splitlines():
        if line.startswith("#") or not line:
            continue
        name, labels = re.match(r"([a-zA-Z_:][\w:]*)(?:\{(.*)\})?", line).groups()
        found.setdefault(name, set()).update(re.findall(r'(\w+)="', labels or ""))
    return found


def documented(text: str) -> set[str]:
    """Metrics that docs/operations.md lists in its tables and text."""
    return set(re.findall(r"`(permille_\w+|process_\w+)", text))


def quoted(sources: list[str]) -> set[str]:
    """Words that stand in quotes in the sources: values that labels can have."""
    return {word for text in sources for word in re.findall(r'"([\w.]+)"', text)}


class Names:
    """What may be named."""

    def __init__(self, scrape: str, docs: str, sources: list[str]) -> None:
        self.labels = {name: labels | TARGET for name, labels in exported(scrape).items()}
        self.labels |= BUILT_IN
        self.documented = documented(docs)
        self.values = quoted(sources)
        self.used: set[str] = set()

    def record(self, query: Query) -> None:
        """Makes a recorded rule known to the queries after it."""
        self.labels[query.record] = self.check(query)
        self.documented.add(query.record)

    def check(self, query: Query) -> set[str]:
        """The labels of what `query` gives.

        Raises `Unknown` with the place, the name and what there is.
        """
        try:
            labels = self.of(promql.parse(query.filled()))
            shown = set(re.findall(r"{{\s*(?:\$labels\.)?(\w+)\s*}}", query.legend))
            if query.alert:
                texts = " ".join(str(text) for text in query.alert["annotations"].values())
                shown |= set(re.findall(r"\$labels\.(\w+)", texts))
            for label in sorted(shown - labels):
                raise Unknown(f"label `{label}` is shown, the result has {in_words(labels)}")
        except (Unknown, ValueError) as error:
            raise Unknown(f"{query.where}: {error} in\n    {' '.join(query.text.split())}") from None
        return labels

    def of(self, expr) -> set[str]:
        match expr:
            case promql.VectorSelector():
                return self.selector(expr)
            case promql.MatrixSelector():
                return self.selector(expr.vector_selector)
            case promql.SubqueryExpr() | promql.ParenExpr() | promql.UnaryExpr():
                return self.of(expr.expr)
            case promql.AggregateExpr():
                return self.aggregate(expr)
            case promql.Call():
                return self.call(expr)
            case promql.BinaryExpr():
                return self.binary(expr)
            case promql.NumberLiteral() | promql.StringLiteral():
                return set()
        raise Unknown(f"{type(expr).__name__} is not understood")

    def selector(self, selector) -> set[str]:
        name = selector.name
        if name == "ALERTS":
            labels = ALERTS
        else:
            if name not in self.labels:
                raise Unknown(f"metric `{name}` is not exported")
            family = next((name.removesuffix(s) for s in SUFFIXES if name.endswith(s)), name)
            if name not in BUILT_IN and not {name, family} & self.documented:
                raise Unknown(f"metric `{name}` is not in docs/operations.md")
            labels = self.labels[name]
            self.used |= {name, family}
        for matcher in selector.matchers.matchers:
            if matcher.name not in labels:
                raise Unknown(f"label `{matcher.name}` is not of `{name}`, which has {in_words(labels)}")
            if name.startswith("permille_") and matcher.name not in TARGET:
                self.value(matcher)
        return set(labels)

    def value(self, matcher) -> None:
        """A word that is compared with a label's values stands in the code that exports them."""
        for word in matcher.value.split("|"):
            if re.fullmatch(r"[a-z]\w*", word) and word not in self.values | {"USD", "acme", "none"}:
                raise Unknown(f"no `{matcher.name}` is ever `{word}`")

    def aggregate(self, expr) -> set[str]:
        inner = self.of(expr.expr)
        if str(expr.op) in ("topk", "bottomk"):
            return inner
        if expr.modifier is None:
            return set()
        named = set(expr.modifier.labels)
        for label in sorted(named - inner):
            raise Unknown(f"label `{label}` is aggregated by, there are {in_words(inner)}")
        if expr.modifier.type == promql.AggModifierType.By:
            return named
        return inner - named

    def call(self, expr) -> set[str]:
        of_arguments = [self.of(argument) for argument in expr.args]
        labels = set().union(*of_arguments)
        if expr.func.name == "histogram_quantile":
            if "le" not in labels:
                raise Unknown("a quantile of something without buckets")
            return labels - {"le"}
        if expr.func.name == "absent":
            return set()
        return labels

    def binary(self, expr) -> set[str]:
        left, right = self.of(expr.lhs), self.of(expr.rhs)
        modifier = expr.modifier
        if modifier is not None and modifier.matching is not None:
            for label in modifier.matching.labels:
                if label not in left & right:
                    raise Unknown(f"label `{label}` is matched on and not on both sides")
        if str(expr.op) == "or":
            return left | right
        if str(expr.op) in ("and", "unless"):
            return left
        if isinstance(expr.lhs, promql.NumberLiteral):
            return right
        return left


def in_words(labels: set[str]) -> str:
    return ", ".join(f"`{label}`" for label in sorted(labels)) or "no label"


def sources() -> list[str]:
    paths = [p for part in ("billing", "gateway", "src") for p in (ROOT / part).rglob("*.rs")]
    return [path.read_text(encoding="utf-8") for path in paths]


def problems(scrape: str, queries: list[Query] | None = None) -> list[str]:
    """What is wrong, one text each; also metrics that nothing shows."""
    docs = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    names = Names(scrape, docs, sources())
    found = []
    for query in every_query() if queries is None else queries:
        try:
            if query.record:
                names.record(query)
            else:
                names.check(query)
        except Unknown as error:
            found.append(str(error))
    if queries is None:
        unseen = {name for name in documented(docs) if name.startswith("permille_") and name in families(scrape)}
        found += [f"metric `{name}` is exported and on no dashboard" for name in sorted(unseen - names.used)]
    return found


def families(scrape: str) -> set[str]:
    return set(re.findall(r"^# TYPE (\w+) ", scrape, re.MULTILINE))
