"""What rules must say of a demo, by the simulated provider's own books.

`EXPECTED` has of each recorded rule what its text gives when it is asked for all time (agree.py), and so of alerts
whose value is a figure of the books: nothing where it is within the alert's bound. Recorded rules for which the
provider has no number are in `NOT_IN_BOOKS`, with the reason.
"""

from collections.abc import Callable
from decimal import Decimal

import files
from expected import (
    ERROR_BUDGET, MONTH, Asked, Series, budgets_of, calls_by, cost, failed, failures, faults, known, multipliers, nothing,
    one, one_call, requests, that, tokens, total,
)

# Replies to these need not have tokens.
WITHOUT_TOKENS = ("models", "stored_response", "count_tokens", "access_token")
OF_CUSTOMER = ("customer", "currency")


def ratio(asked: Asked) -> Series:
    return one(failed(asked))


def unreported(asked: Asked) -> Series:
    return total(that(asked.all, lambda call: call.source != "reported"), tokens)


def complete(asked: Asked, *labels: str) -> Series:
    calls = that(asked.all, lambda call: call.ended == "complete" and call.endpoint not in WITHOUT_TOKENS)
    return total(calls, one_call, *labels)


def failed_calls(asked: Asked) -> Series:
    return calls_by(asked.all, "upstream", failed=True).over(calls_by(asked.all, "upstream"))


def margin(asked: Asked) -> Series:
    return total(known(asked.all), lambda call: call.cost - call.provider_cost, *OF_CUSTOMER)


def spent(asked: Asked) -> Series:
    return total(asked.all, cost, *OF_CUSTOMER)


def multipliers_of_all(asked: Asked) -> Series:
    """By currency, each as the panel has it."""
    found = Series(("currency", "source"))
    for currency in sorted({call.currency for call in asked.all}):
        of = Asked(asked.of, currency, asked.customer, asked.refused, asked.now)
        found |= {(currency, source): value for (source,), value in multipliers(of).items()}
    return found


def burn(asked: Asked) -> Series:
    return spent(asked).times(MONTH).over(budgets_of(asked.all, asked, *OF_CUSTOMER))


def unpriced(asked: Asked) -> Series:
    return one(sum(call.prices is None and tokens(call) > 0 for call in asked.all))


def faulty(name: str) -> Callable[[Asked], Series]:
    return lambda asked: one(faults(asked.all, name))


def above(bound, figure: Callable[[Asked], Series]) -> Callable[[Asked], Series]:
    """An alert has a value only above its bound."""
    def value(asked: Asked) -> Series:
        series = figure(asked)
        return Series(series.labels, {key: value for key, value in series.items() if value > Decimal(bound)})

    return value


def below(bound, figure: Callable[[Asked], Series]) -> Callable[[Asked], Series]:
    def value(asked: Asked) -> Series:
        series = figure(asked)
        return Series(series.labels, {key: value for key, value in series.items() if value < Decimal(bound)})

    return value


FAST, MIDDLE = Decimal("14.4"), 6

EXPECTED: dict[str, Callable[[Asked], Series]] = {
    "permille:error_budget:ratio": lambda a: one(ERROR_BUDGET),
    "job:permille_requests:rate5m": lambda a: one(requests(a)),
    "job:permille_failures:rate5m": lambda a: one(failures(a)),
    "job:permille_failures:ratio_rate5m": ratio,
    "job:permille_failures:ratio_rate30m": ratio,
    "job:permille_failures:ratio_rate1h": ratio,
    "job:permille_failures:ratio_rate6h": ratio,
    "job:permille_failures:ratio_rate3d": ratio,
    "job_upstream:permille_calls:rate5m": lambda a: calls_by(a.all, "upstream"),
    "job_upstream:permille_failed_calls:rate5m": lambda a: calls_by(a.all, "upstream", failed=True),
    "job_upstream:permille_failed_calls:ratio_rate5m": failed_calls,
    "job_family:permille_metered_tokens:rate5m": lambda a: total(a.all, tokens, "family"),
    "job:permille_metered_tokens:rate5m": lambda a: total(a.all, tokens),
    "job:permille_unreported_tokens:rate5m": unreported,
    "job_family:permille_complete:rate5m": lambda a: complete(a, "family"),
    "job:permille_complete:rate5m": complete,
    "job_customer_currency:permille_cost:increase1h": spent,
    "job_currency:permille_cost:increase1h": lambda a: total(a.all, cost, "currency"),
    "job_customer_currency:permille_monthly_budget:max": lambda a: budgets_of(a.all, a, *OF_CUSTOMER),
    "job_customer_currency:permille_cost:rate5m": spent,
    "job_customer_currency:permille_budget_burn:ratio_rate5m": burn,
    "job_customer_currency:permille_budget_burn:ratio_rate30m": burn,
    "job_customer_currency:permille_budget_burn:ratio_rate1h": burn,
    "job_customer_currency:permille_budget_burn:ratio_rate6h": burn,
    "job_customer_currency:permille_budget_burn:ratio_rate3d": burn,
    "job_customer_currency:permille_margin:increase1d": margin,
    "job_currency_source:permille_list_price_multiplier:ratio_increase1d": multipliers_of_all,
    # Alerts whose value is a figure.
    "PermilleErrorBudgetBurnsFast": above(FAST * ERROR_BUDGET, ratio),
    "PermilleErrorBudgetBurns": above(MIDDLE * ERROR_BUDGET, ratio),
    "PermilleErrorBudgetBurnsSlowly": above(ERROR_BUDGET, ratio),
    "PermilleUpstreamFails": above("0.2", failed_calls),
    "PermilleMeteringBroken": nothing,
    "PermilleUsageNotBooked": nothing,
    "PermilleUsageMismatch": above(0, faulty("usage=wrong_total")),
    "PermilleTapErrors": above(0, faulty("garble_after")),
    "PermilleUnreportedUsage": above("0.05", lambda a: unreported(a).over(total(a.all, tokens))),
    "PermilleUnpricedUsage": above(0, unpriced),
    "PermilleUsageQuarantined": above(0, lambda a: one(sum(a.of.set_aside.values()))),
    "PermilleCustomerBudgetBurnsFast": above(FAST, burn),
    "PermilleCustomerBudgetBurns": above(MIDDLE, burn),
    "PermilleCustomerBudgetBurnsSlowly": above(1, burn),
    "PermilleCustomerLosesMoney": below(-1, margin),
}

NOT_IN_BOOKS: dict[str, str] = {
    "job_upstream_model_direction:permille_audit_drift:ratio_increase6h":
        "divided by our own count of the texts, which only some replies get",
}


def unlisted() -> list[str]:
    """Recorded rules that are in neither table or in both, and entries of no rule."""
    names = {query.record or query.alert["alert"]: query for query in files.rules()}
    recorded = {name for name, query in names.items() if query.record}
    found = [f"{name}: what it must agree with is not in expected_rules.py" for name in recorded - EXPECTED.keys() - NOT_IN_BOOKS.keys()]
    found += [f"{name}: compared, and said not to be" for name in EXPECTED.keys() & NOT_IN_BOOKS.keys()]
    found += [f"expected_rules.py: no rule `{name}`" for name in (EXPECTED.keys() | NOT_IN_BOOKS.keys()) - names.keys()]
    return sorted(found)
