"""What panels must say of a demo, by the simulated provider's own books.

`EXPECTED` has of each panel what its queries give when they are asked for all time (agree.py), computed from the
books (books.py). Panels for which the provider has no number are in `NOT_IN_BOOKS`, with the reason. Every panel is
in one of the two.
"""

import datetime
import math
from collections.abc import Callable
from decimal import Decimal

import books
import files
from books import Call, bucket

HOUR, MINUTE, MONTH = 3600, 60, 2_592_000
# The quiet time after which the demo takes a session for ended, and how often billing looks.
IDLE_SECONDS, LOOKS_EVERY_SECONDS = 20, 15
INPUT = ("input_uncached", "cache_read", "cache_read_explicit", "cache_write_5m", "cache_write_1h")
OUTPUT = ("output_text", "reasoning")


# What a request that reaches no provider is answered with, by the reason that the gateway counts.
REFUSED_WITH = {
    "permille_budget_exceeded": 402, "permille_unknown_key": 401, "permille_unsupported_path": 404, "permille_upstreams_unwell": 503,
}
# Of 1,000 requests 5 may fail.
ERROR_BUDGET = Decimal("0.005")


class Asked:
    """What a dashboard is asked for at a time: all calls, those in its currency, and those of its customer; and
    how often the gateway refused by itself, by reason, which no provider knows."""

    def __init__(self, of: books.Books, currency: str, customer: str, refused: dict[str, int], now: float) -> None:
        self.of, self.all, self.currency, self.customer, self.budgets = of, of.calls, currency, customer, of.budgets
        self.paid = [each for each in of.calls if each.currency == currency]
        self.mine = [each for each in of.calls if each.customer == customer]
        self.sessions, self.refused, self.now = of.sessions, refused, now

    @property
    def paid_sessions(self) -> list[books.Session]:
        return [each for each in self.sessions if each.currency == self.currency]


LABELS: dict[str, Callable[[Call], str]] = {
    "turn": lambda call: bucket(call.turn),
    "kind": lambda call: call.kind or "unknown",
}


class Series(dict):
    """Values by the labels of their series."""

    def __init__(self, labels: tuple[str, ...], values=()) -> None:
        super().__init__(values)
        self.labels = labels

    def times(self, factor) -> "Series":
        return Series(self.labels, {key: value * factor for key, value in self.items()})

    def over(self, other: "Series") -> "Series":
        """Each divided by the one of `other` that has its first labels."""
        below = {key: other.get(key[: len(other.labels)], 0) for key in self}
        return Series(self.labels, {key: value / below[key] for key, value in self.items() if below[key]})

    def complement(self) -> "Series":
        return Series(self.labels, {key: 1 - value for key, value in self.items()})


def total(calls: list[Call], amount, *labels: str, part: str | None = None) -> Series:
    """Sums of an amount, or of each part of it, by labels."""
    sums = Series((*labels, part) if part else labels)
    if not sums.labels:
        sums[()] = 0
    for call in calls:
        key = tuple(LABELS[name](call) if name in LABELS else getattr(call, name) for name in labels)
        found = amount(call)
        for name, value in found.items() if part else [(None, found)]:
            place = (*key, name) if part else key
            sums[place] = sums.get(place, 0) + value
    return sums


def one(value) -> Series:
    return Series((), {(): value})


def one_call(call: Call) -> int:
    return 1


def cost(call: Call) -> Decimal:
    return call.cost


def tokens(call: Call) -> int:
    return sum(call.tokens.values())


def tokens_of(*classes: str):
    return lambda call: sum(call.tokens.get(name, 0) for name in classes)


def placed(call: Call) -> int:
    return call.input if call.kind else 0


def cause(name: str):
    return lambda call: call.hidden[name]


def that(calls: list[Call], holds) -> list[Call]:
    return [call for call in calls if holds(call)]


def known(calls: list[Call]) -> list[Call]:
    """Those of which it is known what the provider takes."""
    return that(calls, lambda call: call.provider_cost is not None)


def priced(calls: list[Call]) -> list[Call]:
    return that(calls, lambda call: call.prices is not None)


def margin(asked: Asked) -> Series:
    calls = known(asked.paid)
    return total(calls, lambda call: call.cost - call.provider_cost, "customer")


def calls_by(calls: list[Call], label: str, failed: bool = False) -> Series:
    """Upstream calls; only those that the recorded rule takes for failed: 5xx, 429 or a reply that broke off."""
    sums = Series((label,))
    for call in calls:
        for entry, attempt in zip(call.entries, call.attempts):
            broke_off = attempt[4] in ("upstream_error", "deadline")
            if not failed or broke_off or entry["status"] in (429, 500, 503):
                key = (attempt[0] if label == "upstream" else str(entry["status"]),)
                sums[key] = sums.get(key, 0) + 1
    return sums


def answers(asked: Asked) -> Series:
    """Answers of the gateway by status: the provider's, and those that it gave by itself, of which some have a row
    without a call."""
    sums = Series(("status",))
    for (status,), answered in total(that(asked.all, lambda call: call.entries), one_call, "status").items():
        sums[(str(status),)] = answered
    for code, answered in asked.refused.items():
        key = (str(REFUSED_WITH.get(code, code)),)
        sums[key] = sums.get(key, 0) + answered
    return sums


def requests(asked: Asked) -> int:
    return sum(answers(asked).values())


def refused_by_limits(asked: Asked) -> Series:
    """The only limit is that of a key by month."""
    count = asked.refused.get("permille_budget_exceeded", 0)
    return Series(("level", "measure"), {("key", "spend_per_month"): count})


def nothing(asked: Asked) -> Series:
    return one(0)


def failures(asked: Asked) -> int:
    """Answers 5xx, and replies that broke off after they had begun."""
    broke_off = sum(
        200 <= attempt[1] < 300 and attempt[4] in ("upstream_error", "deadline")
        for call in asked.all for attempt in call.attempts
    )
    return broke_off + sum(answered for (status,), answered in answers(asked).items() if status.startswith("5"))


def failed(asked: Asked) -> Decimal:
    return Decimal(failures(asked)) / requests(asked)


def burn(asked: Asked) -> Series:
    return one(failed(asked) / ERROR_BUDGET)


def budgets(asked: Asked) -> Series:
    return budgets_of(asked.paid, asked, "customer")


def budgets_of(calls: list[Call], asked: Asked, *labels: str) -> Series:
    return Series(
        labels, {tuple(getattr(call, name) for name in labels): Decimal(asked.budgets[call.customer]) for call in calls}
    )


def per(calls: list[Call], amount, of, *labels: str) -> Series:
    return total(calls, amount, *labels).over(total(calls, of, *labels))


def faults(calls: list[Call], name: str) -> int:
    return sum(name in (entry["fault"] or "") for call in calls for entry in call.entries)


def booked(asked: Asked) -> Series:
    results = {"booked": len(asked.all), "duplicate": 0} | asked.of.set_aside
    return Series(("result",), {(name,): value for name, value in results.items()})


def outcomes(sessions: list[books.Session], amount, *labels: str) -> Series:
    """What was told of sessions, and what is inferred of those of which nothing had been told when they ended: the
    least and the most, because billing looks for ended ones only now and then."""
    sums = Series(labels)
    for each in sessions:
        inferred = {"outcome": each.inferred, "source": "inferred"}
        if each.told:
            told = {"outcome": each.told, "source": "told"}
            add(sums, tuple(told[name] for name in labels), amount(each), amount(each))
        if not each.told or each.told_after_seconds > IDLE_SECONDS:
            surely = not each.told or each.told_after_seconds > 2 * LOOKS_EVERY_SECONDS + IDLE_SECONDS
            least = amount(each) if surely else 0
            add(sums, tuple(inferred[name] for name in labels), least, amount(each))
    return sums


def add(sums: Series, key: tuple, least, most) -> None:
    before = sums.get(key, (0, 0))
    sums[key] = (before[0] + least, before[1] + most)


def cumulative(values: list[float], bounds: list[float]) -> list[int]:
    return [sum(value <= bound for value in values) for bound in bounds]


def quantile(q: float, values: list[float], bounds: list[float]) -> float:
    """Prometheus's estimate of a quantile from the buckets that `values` fall into."""
    counts = cumulative(values, bounds)
    rank = q * counts[-1]
    place = next(i for i, count in enumerate(counts) if count >= rank)
    if bounds[place] == math.inf:
        return bounds[-2]
    low, before = (bounds[place - 1], counts[place - 1]) if place else (0.0, 0)
    return low + (bounds[place] - low) * (rank - before) / (counts[place] - before)


def tenths(scale: int) -> list[float]:
    return [float(f"{mantissa}e{exponent}") for exponent in range(-5, scale) for mantissa in (1, 1.8, 3.2, 5.6)]


MONEY = [*tenths(2), 100.0, math.inf]
TURNS = [1, 2, 3, 5, 8, 13, 21, 34, 55, 100, math.inf]
SHARES = [0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0, math.inf]


def session_cost(q: float):
    def value(asked: Asked) -> Series:
        costs = [float(each.cost) for each in asked.paid_sessions]
        return one(quantile(q, costs, MONEY)) if costs else Series(())

    return value


def distribution(values: list[float], bounds: list[float]) -> Series:
    names = ["+Inf" if bound == math.inf else f"{bound:g}" for bound in bounds]
    return Series(("le",), zip(((name,) for name in names), cumulative(values, bounds)))


def resent_of_sessions(asked: Asked) -> Series:
    by_turns: dict[str, list[float]] = {}
    for each in asked.sessions:
        if each.input:
            share = each.resent * 1000 // each.input / 1000
            by_turns.setdefault(bucket(each.turns), []).append(share)
    return Series(("turns",), {(name,): quantile(0.5, shares, SHARES) for name, shares in by_turns.items()})


def per_result(asked: Asked) -> Series:
    results = sum(each.told in ("accepted", "resolved") for each in asked.paid_sessions)
    return one(sum(each.cost for each in asked.paid_sessions) / results) if results else Series(())


class Rows(dict):
    """Rows of the ledger by key columns: what some of their other columns hold."""

    def __init__(self, keys: tuple[str, ...], values) -> None:
        super().__init__(values)
        self.keys_of_rows = keys


def rows_of(calls: list[Call]) -> Rows:
    found: dict[tuple, dict] = {}
    for call in calls:
        row = found.setdefault(
            (call.customer, call.model, call.currency), {"requests": 0, "input": 0, "output": 0, "cost": 0}
        )
        for name, value in (("requests", 1), ("input", call.input), ("output", call.output), ("cost", call.cost)):
            row[name] += value
    return Rows(("customer", "model", "currency"), found)


def rows_of_sessions(sessions: list[books.Session]) -> Rows:
    return Rows(
        ("session",),
        {
            (each.id,): {
                "turns": each.turns, "requests": each.requests, "cost": each.cost,
                "cost_per_turn": each.cost / each.turns,
            }
            for each in sessions
        },
    )


def multipliers(asked: Asked) -> Series:
    """Cost of sessions with a result ÷ that of their last complete reply without what was resent. Which sessions had
    ended before they were told depends on the machine: what is inferred is the least and the most of any choice."""
    told, surely, maybe = [], [], []
    for each in asked.paid_sessions:
        calls = that(priced(asked.paid), lambda call: (call.customer, call.session) == (each.customer, each.id))
        whole = that(calls, lambda call: call.ended == "complete")
        if not whole:
            continue
        both = (each.cost, whole[-1].cost - whole[-1].hidden["resent"])
        if each.told in ("accepted", "resolved"):
            told.append(both)
        if each.inferred == "ended" and not each.told:
            surely.append(both)
        elif each.inferred == "ended" and each.told_after_seconds > IDLE_SECONDS:
            maybe.append(both)
    chosen = [surely + [each for place, each in enumerate(maybe) if bits >> place & 1] for bits in range(2 ** len(maybe))]
    inferred = [ratio(each) for each in chosen if each] + ([] if surely else [0])
    found = {("inferred",): (min(inferred), max(inferred))}
    return Series(("source",), found | ({("told",): ratio(told)} if told else {}))


def ratio(pairs: list[tuple[Decimal, Decimal]]) -> Decimal:
    return sum(a for a, _ in pairs) / sum(b for _, b in pairs)


def sessions_for(fee: int, asked: Asked, by_providers: bool = False) -> Series:
    """The smallest number of sessions of mean cost that cost more than the fee."""
    whole = sum(each.cost for each in asked.paid_sessions)
    if not whole:
        return Series(())
    most = fee * len(asked.paid_sessions) / whole
    if by_providers:
        taken = sum(call.provider_cost for call in known(asked.paid))
        if not taken:
            return Series(())
        most *= sum(call.cost for call in known(asked.paid)) / taken
    return one(math.floor(most) + 1)


def fees(asked: Asked) -> Rows:
    """Nobody has a plan in a demo: what is paid is what usage costs."""
    sold = total(known(asked.paid), cost, "customer")
    taken = total(known(asked.paid), lambda call: call.provider_cost, "customer")
    return Rows(("customer",), {
        key: {"usage_cost": sold[key], "provider_cost": taken[key], "margin": sold[key] - taken[key]}
        for key in taken if taken[key]
    })


def turns_of(asked: Asked) -> Rows:
    """Of the session that the dashboard's variables name in checks."""
    name = (files.VALUES["session_customer"], files.VALUES["session"])
    found, whole = {}, Decimal(0)
    for call in that(asked.all, lambda call: (call.customer, call.session) == name):
        whole += call.cost
        found[(call.turn, call.kind)] = {
            "input": call.input, "output": call.output, "cost": call.cost, "cumulative_cost": whole,
        } | ({"resent": call.resent} if call.resent else {})
    return Rows(("turn", "kind"), found)


def month(asked: Asked, calls: list[Call], label: str) -> Rows:
    """What the month has cost, and what it comes to at the pace of its first part."""
    now = datetime.datetime.fromtimestamp(asked.now, datetime.UTC)
    began = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    ends = (began + datetime.timedelta(days=31)).replace(day=1)
    # Grafana tells milliseconds.
    pace = (ends - began).total_seconds() / (int(asked.now * 1000) / 1000 - began.timestamp())
    sums = total(calls, cost, label)
    return Rows(
        (label,),
        {key: {"month_to_date": value, "forecast": float(value) * pace} for key, value in sums.items() if value},
    )


def invoices(asked: Asked) -> Rows:
    found: dict[tuple, dict] = {}
    for each in asked.of.invoices:
        row = found.setdefault((each.period, each.state, each.currency), {"invoices": 0, "total": Decimal(0)})
        row["invoices"] += 1
        row["total"] += each.total
    return Rows(("period", "state", "currency"), found)


EXPECTED: dict[str, list[Callable[[Asked], Series | Rows]]] = {
    # Money is per currency, of all customers.
    "cost: Cost": [lambda a: total(a.paid, cost)],
    "cost: Cost per hour, now": [lambda a: total(a.paid, cost).times(HOUR)],
    "cost: A month at this pace": [lambda a: total(a.paid, cost).times(MONTH)],
    "cost: Customers with cost": [lambda a: one(len({each.customer for each in a.paid if each.cost}))],
    "cost: Waiting for a price": [lambda a: one(sum(each.prices is None and tokens(each) > 0 for each in a.all))],
    "cost: Cost per hour by customer, $currency": [lambda a: total(a.paid, cost, "customer").times(HOUR)],
    "cost: Cost by customer, $currency": [lambda a: total(a.paid, cost, "customer")],
    "cost: Margin by customer, $currency": [
        lambda a: per(known(a.paid), lambda call: call.provider_cost, cost, "customer").complement()
    ],
    "cost: Margin per day by customer, $currency": [margin],
    "cost: Pace against the month's budget, $currency": [
        lambda a: total(a.paid, cost, "customer").times(MONTH).over(budgets(a))
    ],
    "finance: The month's budget used, $currency": [lambda a: total(a.paid, cost, "customer").over(budgets(a))],
    "finance: Month to date and forecast": [lambda a: month(a, a.all, "currency")],
    "finance: Forecast by customer, $currency": [lambda a: month(a, a.paid, "customer")],
    "finance: Invoices by state": [invoices],
    "cost: Tokens by model": [lambda a: total(a.all, tokens, "model")],
    "cost: Tokens by class": [lambda a: total(a.all, lambda call: call.tokens, part="class")],
    "cost: Input served from the provider's cache": [
        lambda a: per(a.all, tokens_of("cache_read"), tokens_of(*INPUT), "model")
    ],
    "cost: Cost of the ledger by customer and model": [lambda a: rows_of(a.all)],
    "customer: Cost, $currency": [lambda a: total(a.mine, cost)],
    "customer: Per hour, now": [lambda a: total(a.mine, cost).times(HOUR)],
    "customer: Tokens": [lambda a: total(a.mine, tokens)],
    "customer: Per thousand tokens, $currency": [lambda a: per(a.mine, cost, tokens).times(1000)],
    "customer: Input per output": [lambda a: per(a.mine, tokens_of(*INPUT), tokens_of(*OUTPUT))],
    "customer: Cost per hour, $currency": [
        lambda a: total(a.mine, cost).times(HOUR),
        # There is no yesterday; with all time for the window it is the same as now.
        lambda a: total(a.mine, cost).times(HOUR),
    ],
    "customer: Tokens by class": [lambda a: total(a.mine, lambda call: call.tokens, part="class")],
    "customer: Tokens by model": [lambda a: total(a.mine, tokens, "model")],
    "customer: Tokens by project": [lambda a: total(a.mine, tokens, "project")],
    "customer: Hidden cost by cause, $currency": [lambda a: total(a.mine, lambda call: call.hidden, part="cause")],
    "customer: Hidden cost as a share of cost": [
        lambda a: total(a.mine, lambda call: call.hidden, part="cause").over(total(a.mine, cost))
    ],
    "customer: Conversations that cost most": [
        lambda a: rows_of_sessions([each for each in a.sessions if each.customer == a.customer])
    ],
    "metering: Tokens": [lambda a: total(a.all, tokens)],
    "metering: Reported by the provider": [
        lambda a: total(that(a.all, lambda call: call.source == "reported"), tokens).over(total(a.all, tokens))
    ],
    "metering: Contradictory replies": [lambda a: one(faults(a.all, "usage=wrong_total"))],
    "metering: Unreadable replies": [lambda a: one(faults(a.all, "garble_after"))],
    "metering: Waiting for a price": [lambda a: one(sum(each.prices is None and tokens(each) > 0 for each in a.all))],
    "metering: In quarantine": [lambda a: one(sum(a.of.set_aside.values()))],
    "metering: Tokens by class": [lambda a: total(a.all, lambda call: call.tokens, part="class")],
    "metering: Tokens by source": [lambda a: total(a.all, tokens, "source")],
    "metering: Not reported, by family": [
        lambda a: total(that(a.all, lambda call: call.source != "reported"), tokens, "family").over(
            total(a.all, tokens, "family")
        )
    ],
    "metering: Tokens per complete reply": [
        lambda a: total(a.all, tokens, "family").over(
            total(that(a.all, lambda call: call.ended == "complete"), one_call, "family")
        )
    ],
    "metering: Contradictory and unreadable replies": [
        lambda a: one(faults(a.all, "usage=wrong_total")), lambda a: one(faults(a.all, "usage=wrong_total")),
        lambda a: one(faults(a.all, "garble_after")),
    ],
    "metering: Metered and booked": [lambda a: total(a.all, one_call), booked],
    "overview: Requests": [lambda a: one(requests(a))],
    "overview: Failures": [lambda a: one(failed(a))],
    "overview: Burn rate": [burn, burn, burn],
    "overview: Answers by status": [answers],
    "overview: Records that wait": [lambda a: one(0)],
    "overview: Refused by limits": [refused_by_limits],
    "overview: Limits nearly used": [lambda a: Series(("level", "measure")), lambda a: one(0)],
    "overview: Endings": [lambda a: total(a.all, one_call, "ended")],
    "overview: Calls": [lambda a: calls_by(a.all, "upstream")],
    "overview: Failed calls, share": [
        lambda a: calls_by(a.all, "upstream", failed=True).over(calls_by(a.all, "upstream"))
    ],
    "overview: Calls by answer": [lambda a: calls_by(a.all, "status")],
    "overview: Retries": [
        lambda a: total(that(a.all, lambda call: len(call.attempts) > 1), one_call, "upstream"), lambda a: one(0),
    ],
    "sessions: Resent share of input": [lambda a: per(a.all, lambda call: call.resent, placed)],
    "sessions: Cost of what is resent": [lambda a: per(a.paid, cause("resent"), cost)],
    "sessions: A turn, mean": [lambda a: per(priced(a.paid), cost, one_call)],
    "sessions: A session, median": [session_cost(0.5)],
    "sessions: A session, p99": [session_cost(0.99)],
    "sessions: An accepted result": [per_result],
    "sessions: Cost of turn k, $currency": [lambda a: per(priced(a.paid), cost, one_call, "turn")],
    "sessions: What turn k consists of, $currency": [
        lambda a: total(a.paid, lambda call: call.costs, "turn", part="class").over(
            total(priced(a.paid), one_call, "turn")
        )
    ],
    "sessions: Resent share of input, by turn": [lambda a: per(a.all, lambda call: call.resent, placed, "turn")],
    "sessions: Tokens by turn": [lambda a: total(a.all, tokens, "turn")],
    "sessions: How turns come about": [lambda a: total(a.all, one_call, "kind")],
    "sessions: Hidden cost by cause, $currency": [lambda a: total(a.paid, lambda call: call.hidden, part="cause")],
    "sessions: Hidden cost as a share of cost": [
        lambda a: total(a.paid, lambda call: call.hidden, part="cause").over(total(a.paid, cost))
    ],
    "sessions: The provider's cache, $currency per hour": [
        lambda a: total(a.paid, lambda call: call.saved).times(HOUR),
        lambda a: total(a.paid, cause("cache_missed")).times(HOUR),
    ],
    "sessions: Answers asked for again, and calls that failed": [
        lambda a: one(sum(each.kind == "regenerate" for each in a.all) * MINUTE),
        lambda a: total(priced(a.all), lambda call: call.failed_attempts).times(MINUTE),
    ],
    "sessions: What they cost, $currency per hour": [
        lambda a: total(a.paid, cause("regenerated")).times(HOUR),
        lambda a: total(a.paid, cause("failed_request"), "ended").times(HOUR),
        lambda a: total(a.paid, cause("failed_attempt")).times(HOUR),
    ],
    "sessions: List-price multiplier": [multipliers],
    "sessions: Sessions that use up a fee of $fee $currency": [
        lambda a: sessions_for(int(files.VALUES["fee"]), a), lambda a: sessions_for(int(files.VALUES["fee"]), a, True),
    ],
    "sessions: Turns of $session, $session_customer": [turns_of],
    "finance: Fees and what providers take, $currency": [fees],
    "sessions: Cost of a session, distribution, $currency": [
        lambda a: distribution([float(each.cost) for each in a.paid_sessions], MONEY)
    ],
    "sessions: Turns of a session, distribution": [
        lambda a: distribution([each.turns for each in a.sessions], TURNS)
    ],
    "sessions: Outcomes": [lambda a: outcomes(a.sessions, lambda each: MINUTE, "outcome", "source")],
    "sessions: Cost by outcome, $currency per hour": [
        lambda a: outcomes(a.paid_sessions, lambda each: each.cost * HOUR, "outcome")
    ],
    "sessions: Resent share of a session, median by turns": [resent_of_sessions],
    "sessions: Conversations that cost most": [
        lambda a: rows_of_sessions([each for each in a.sessions if each.currency == a.currency])
    ],
    # What the gateway counts by itself, by the reason that it tells.
    "overview: Takes new requests": [lambda a: one(1)],
    # A demo has no webhooks, no bills of providers, no Redis and no collector.
    "cost: Bills that do not agree": [nothing],
    "cost: Providers reconciled": [nothing],
    "metering: Attempts": [lambda a: Series(("outcome",))],
    "metering: Events still to be told, and given up": [nothing, nothing],
    "metering: Oldest event still to be told": [nothing],
    "overview: Batches in the usage stream": [nothing],
    "overview: Oldest batch in the usage stream": [nothing],
    "overview: Batches taken, lost and out of reach": [lambda a: Series(("result",)), nothing, nothing],
    "overview: Shared limits": [nothing, nothing, nothing],
    "overview: Shared conversations": [nothing, nothing, nothing],
    "overview: OpenTelemetry": [lambda a: Series(("result",)), nothing],
}

TIME = "a time of this machine"
QUIET = "a demo has none of it; "
NOT_IN_BOOKS: dict[str, str] = {
    "finance: Unpaid": QUIET + "tests/dashboards.rs holds it against a payment on both engines",
    "metering: Reported ÷ counted": "divided by our own count of the texts, which only some replies get",
    "metering: Audited replies": "which replies find a place to be counted again depends on the machine",
    "metering: Drift, median by model": "divided by our own count of the texts, which only some replies get",
    "metering: A batch of usage, from arrival to commit": TIME,
    "metering: Events per batch": "how many events come at once depends on the machine",
    "metering: An attempt, look-up to status": TIME,
    "overview: Alerts": "tests/alerts and tests/dashboards.rs make them fire",
    "overview: Overhead, p99": TIME,
    "overview: Usage waits for billing": TIME,
    "overview: Journal full": "bytes on a disk of this machine",
    "overview: Open now": "nothing is open when the books are closed",
    "overview: Time to first byte": TIME,
    "overview: Overhead of the gateway": TIME,
    "overview: Ends of replies wait for the disk": TIME,
    "overview: Time to first byte, distribution": TIME,
    "overview: Age of the oldest record": TIME,
    "overview: Room": "bytes on a disk of this machine",
    "overview: Late releases and refused batches": TIME,
    "overview: Refusals by reason": "what never reaches a provider is not in its books",
    "overview: Circuits opened": "what the gateway made of failures; tests/dashboards.rs sees the alert on it",
    "overview: Reservation, p99": TIME,
    "overview: Processor": "the process",
    "overview: Memory": "the process",
    "overview: File descriptors": "the process",
}


def unlisted() -> list[str]:
    """Panels that are in neither table or in both, and entries of no panel."""
    panels = {panel.where: panel for name, board in files.boards().items() for panel in files.panels(name, board)}
    found = [f"{where}: what it must agree with is not in expected.py" for where in panels.keys() - EXPECTED.keys() - NOT_IN_BOOKS.keys()]
    found += [f"{where}: compared, and said not to be" for where in EXPECTED.keys() & NOT_IN_BOOKS.keys()]
    found += [f"expected.py: no panel `{where}`" for where in (EXPECTED.keys() | NOT_IN_BOOKS.keys()) - panels.keys()]
    for where in EXPECTED.keys() & panels.keys():
        asked = len(panels[where].queries) + len(panels[where].sql)
        if asked != len(EXPECTED[where]):
            found.append(f"{where}: {asked} queries, {len(EXPECTED[where])} expectations")
    return sorted(found)
