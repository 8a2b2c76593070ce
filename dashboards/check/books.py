"""What a demo cost, from the simulated provider's own books.

Tokens are those of the books, money is those tokens at the prices of the ledger's price book. From the ledger's
rows comes only what a provider cannot know: who asked, which session and turn a request is, how much of its input
was resent, how it ended for the client. Formulas are those of docs/metering.md, written a second time.
"""

import json
import pathlib
import sqlite3
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal

# The order in which text stands in a prompt: what is resent is its beginning.
PROMPT = (
    "cache_read", "cache_read_explicit", "cache_write_5m", "cache_write_30m", "cache_write_1h", "cache_write_12h",
    "cache_write_other", "input_uncached",
)
# How the ledger's rows write the classes (billing/ledger/src/usage/tokens.rs).
CODES = {
    "i": "input_uncached", "c": "cache_read", "cx": "cache_read_explicit", "w5m": "cache_write_5m",
    "w30m": "cache_write_30m", "w1h": "cache_write_1h", "w12h": "cache_write_12h", "w": "cache_write_other",
    "ai": "audio_in", "ii": "image_in", "vi": "video_in", "o": "output_text", "r": "reasoning", "ao": "audio_out",
    "io": "image_out",
}
THOUSAND = Decimal(1000)
ZERO = Decimal(0)
# What the demo expects of each customer in 30 days, in its currency.
DEMO_BUDGET = 100_000
# Faults after which a reply tells no usage, so that the row's tokens are an estimate.
UNREPORTED = ("usage=none", "cut_after", "garble_after")


class Disagreement(Exception):
    """The ledger does not have what the provider has in its books."""


@dataclass
class Call:
    """One request: the provider's entries, one of each call, and what the ledger knows of who made it."""

    entries: list[dict]
    customer: str
    project: str
    session: str
    turn: int
    kind: str | None
    model: str
    family: str
    endpoint: str
    upstream: str
    status: int
    ended: str
    source: str
    attempts: list
    currency: str
    at: float
    tokens: dict[str, int]
    resent: int
    prices: dict[str, Decimal] | None
    provider_prices: dict[str, Decimal] | None

    @property
    def input(self) -> int:
        return sum(n for name, n in self.tokens.items() if name in PROMPT)

    @property
    def output(self) -> int:
        return sum(self.tokens.values()) - self.input

    @property
    def cached(self) -> int:
        return self.tokens.get("cache_read", 0)

    def at_prices(self, prices: dict[str, Decimal]) -> dict[str, Decimal]:
        """What each class costs; a class without tokens has no price to ask for."""
        return {name: prices[name] * n / THOUSAND for name, n in self.tokens.items() if n}

    @property
    def costs(self) -> dict[str, Decimal]:
        return self.at_prices(self.prices) if self.prices else {}

    @property
    def cost(self) -> Decimal:
        return sum(self.costs.values(), ZERO)

    @property
    def provider_cost(self) -> Decimal | None:
        return sum(self.at_prices(self.provider_prices).values(), ZERO) if self.provider_prices else None

    @property
    def resent_classes(self) -> dict[str, int]:
        left, parts = self.resent, {}
        for name in PROMPT:
            parts[name] = min(self.tokens.get(name, 0), left)
            left -= parts[name]
        return parts

    @property
    def hidden(self) -> dict[str, Decimal]:
        """By cause. None of the demo's failed calls has tokens that its row does not bill."""
        prices = self.prices or {}
        resent = sum((prices[name] * n / THOUSAND for name, n in self.resent_classes.items() if n), ZERO)
        cheaper = prices["input_uncached"] - prices["cache_read"] if "cache_read" in prices else ZERO
        missed = cheaper * self.resent_classes["input_uncached"] / THOUSAND
        return {
            "resent": resent,
            "regenerated": self.cost if self.kind == "regenerate" else ZERO,
            "failed_request": self.cost if self.ended != "complete" else ZERO,
            "failed_attempt": ZERO,
            "cache_missed": missed,
        }

    @property
    def saved(self) -> Decimal:
        if not self.cached:
            return ZERO
        return (self.prices["input_uncached"] - self.prices["cache_read"]) * self.cached / THOUSAND

    @property
    def failed_attempts(self) -> int:
        """Calls that another one followed, and a last one that the provider or the time failed."""
        last = len(self.attempts) - 1
        return sum(
            place < last or attempt[4] in ("upstream_error", "deadline") for place, attempt in enumerate(self.attempts)
        )


@dataclass
class Session:
    """A conversation with all that it cost."""

    customer: str
    id: str
    currency: str
    turns: int
    requests: int
    cost: Decimal
    input: int
    resent: int
    told: str | None
    # Between its last request and what was told.
    told_after_seconds: float
    inferred: str


@dataclass
class Invoice:
    """What a document must come to: the calls before it was drafted, with one rounding of each line."""

    period: str
    state: str
    currency: str
    total: Decimal


@dataclass
class Books:
    calls: list[Call]
    sessions: list[Session]
    # Of 30 days, by customer.
    budgets: dict[str, int]
    invoices: list[Invoice]
    # Events that billing could not book, by what it counts them as.
    set_aside: dict[str, int]


def classes(book: dict) -> dict[str, int]:
    """Disjoint classes of what the provider counted."""
    written = {"cache_write_5m": book["cache_write_5m_tokens"], "cache_write_1h": book["cache_write_1h_tokens"]}
    counts = written | {
        "cache_read": book["cached_tokens"],
        "input_uncached": book["prompt_tokens"] - book["cached_tokens"] - sum(written.values()),
        "output_text": book["completion_tokens"] - book["reasoning_tokens"],
        "reasoning": book["reasoning_tokens"],
    }
    return {name: n for name, n in counts.items() if n}


def read(data: str, idle_seconds: float) -> Books:
    """Of a demo that rests, in its data folder."""
    folder = pathlib.Path(data)
    lines = (folder / "simulator/books.jsonl").read_text(encoding="utf-8").splitlines()
    entries = {each["request_id"]: each for each in map(json.loads, lines)}
    ledger = sqlite3.connect(f"file:{folder / 'permille.db'}?mode=ro", uri=True)
    ledger.row_factory = sqlite3.Row
    versions = [json.loads(each["content"]) for each in ledger.execute("select content from price")]
    sold = {each["version"]: prices(each) for each in versions}
    bought = {(each["model"], each["currency"]): prices(each) for each in versions if each.get("side") == "cost"}
    calls = [
        call(row, entries, sold, bought)
        for row in ledger.execute(
            "select u.*, k.*, c.currency from usage u join usage_kind k on k.id = u.kind "
            "join customer c on c.id = u.customer order by u.at, u.request_id"
        )
    ]
    if entries:
        raise Disagreement(f"{len(entries)} calls of the books have no row: {sorted(entries)[:3]}")
    check_resent(calls)
    told = {
        (s["customer"], s["id"]): (s["outcome"], s["outcome_at"])
        for s in ledger.execute("select customer, id, outcome, outcome_at from session")
    }
    by_session: dict[tuple[str, str], list[Call]] = {}
    for each in calls:
        by_session.setdefault((each.customer, each.session), []).append(each)
    if by_session.keys() != told.keys():
        raise Disagreement(f"sessions {sorted(by_session.keys() ^ told.keys())}")
    sessions = [session(of, *told[key]) for key, of in by_session.items()]
    longest = max((b.at - a.at for of in by_session.values() for a, b in zip(of, of[1:])), default=0)
    if longest > idle_seconds - 1:
        raise Disagreement(f"a session rested for {longest:.1f} s: whether it had ended before it went on, no book says")
    customers = {each.customer for each in calls}
    stored = ledger.execute("select customer, period, state, currency, updated_at from invoice")
    invoices = [
        Invoice(each["period"], each["state"], each["currency"], billed(calls, each["customer"], each["updated_at"] / 1e6))
        for each in stored
    ]
    set_aside = {"conflict": 0, "quarantined": 0}
    for each in ledger.execute("select reason from quarantine"):
        set_aside["conflict" if each["reason"] == "conflict" else "quarantined"] += 1
    return Books(calls, sessions, dict.fromkeys(customers, DEMO_BUDGET), invoices, set_aside)


def billed(calls: list[Call], customer: str, before: float) -> Decimal:
    """A customer's calls until then, with one rounding of each line to a hundredth."""
    lines: dict[tuple, Decimal] = {}
    for each in calls:
        if each.customer == customer and each.at < before:
            for name, cost in each.costs.items():
                place = (each.project, each.model, name, each.prices[name])
                lines[place] = lines.get(place, ZERO) + cost
    return sum((cost.quantize(Decimal("0.01"), ROUND_HALF_UP) for cost in lines.values()), ZERO)


def prices(version: dict) -> dict[str, Decimal]:
    return {name: Decimal(each) for name, each in version["rates"]["per_thousand"].items()}


def attempt(stored: list, row: sqlite3.Row) -> list:
    """Upstream, status, id in the body, id in the header, ending: of the row where it says nothing else."""
    form, body_id, header_id, *own = stored
    upstream, status, ended = own[:3] if form else (row["upstream"], row["status"], row["ended"])
    return [upstream, status, body_id, header_id, ended]


def call(row: sqlite3.Row, entries: dict[str, dict], sold: dict, bought: dict) -> Call:
    attempts = [attempt(each, row) for each in json.loads(row["attempts"])]
    made_of = [entries.pop(each[3], None) for each in attempts]
    if None in made_of:
        raise Disagreement(f"row {row['request_id'].hex()} has a call that is not in the provider's books")
    book = made_of[-1] if made_of else {"status": row["status"], "fault": None}
    billed = {CODES[code]: n for code, n in json.loads(row["tokens"]).items() if n}
    tokens = classes(book) if book["status"] == 200 else {}
    if row["source"] == "reported" or row["status"] != 200:
        if billed != tokens:
            raise Disagreement(f"row {row['request_id'].hex()} has {billed}, the provider's books {tokens}")
    elif not any(each in (book["fault"] or "") for each in UNREPORTED):
        raise Disagreement(f"row {row['request_id'].hex()} is {row['source']}, and the provider reported {tokens}")
    made = Call(
        made_of, row["customer"], row["project"], row["session"], row["turn"], row["turn_kind"],
        row["model_served"] or row["model_requested"], row["family"], row["endpoint"], row["upstream"], row["status"],
        row["ended"], row["source"], attempts, row["currency"], row["at"] / 1e6, billed, row["resent_tokens"] or 0,
        sold.get(row["price_version"]), None,
    )
    if billed and made.prices:
        made.provider_prices = bought.get((made.model, made.currency))
    if Decimal(row["cost"] or 0) != made.cost:
        raise Disagreement(f"row {row['request_id'].hex()} costs {row['cost']}, its tokens at its price {made.cost}")
    return made


def check_resent(calls: list[Call]) -> None:
    """The exact rules: a turn made again, and one that goes on from a whole reply."""
    before: dict[tuple[str, str], Call] = {}
    for each in calls:
        last = before.get((each.customer, each.session))
        expected = None
        if each.kind == "regenerate":
            expected = each.input
        elif each.kind == "continue" and last and last.ended == "complete" and last.source == "reported":
            expected = min(each.input, last.input + last.output - last.tokens.get("reasoning", 0))
        if expected is not None and each.resent != expected:
            raise Disagreement(f"{each.session} turn {each.turn} resent {each.resent}, by the books {expected}")
        before[each.customer, each.session] = each


def session(calls: list[Call], told: str | None, told_at: int | None) -> Session:
    last = calls[-1]
    if last.ended == "client_gone":
        inferred = "abandoned"
    elif last.ended != "complete":
        inferred = "failed"
    else:
        inferred = "rejected_turn" if last.kind == "regenerate" else "ended"
    placed = [each for each in calls if each.kind]
    return Session(
        last.customer, last.session, last.currency, max(each.turn for each in calls), len(calls),
        sum((each.cost for each in calls), ZERO), sum(each.input for each in placed),
        sum(each.resent for each in placed), told, (told_at or 0) / 1e6 - last.at, inferred,
    )


def bucket(turn: int) -> str:
    """The label of a turn."""
    for least, name in ((32, "32+"), (16, "16-31"), (8, "8-15"), (4, "4-7"), (2, "2-3")):
        if turn >= least:
            return name
    return "1"
