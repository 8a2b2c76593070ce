"""Dashboards are what Grafana's published schema knows, by its `grafana-foundation-sdk`.

Each dashboard is parsed by the SDK and written again: what is lost on the way is unknown to Grafana. Then
each value of what was parsed must have the type that the SDK states.
"""

import enum
import types
import typing

from grafana_foundation_sdk.cog import plugins
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models import units

import files

plugins.register_default_plugins()

# Prefixes of units that a panel may make up.
OWN_UNITS = ("suffix:", "prefix:", "time:", "si:", "count:", "currency:")
UNITS = {value for name, value in vars(units).items() if isinstance(value, str) and not name.startswith("_")}
# What data sources take that the SDK has no schema of; the dashboard passes it on as it is.
LEDGER_QUERIES = {
    # Of the plugin, https://github.com/fr-ser/grafana-sqlite-datasource: `src/types.ts`.
    "frser-sqlite-datasource": {"refId", "datasource", "queryType", "queryText", "rawQueryText", "timeColumns"},
    # Grafana's own: `SQLQuery` of `packages/grafana-sql/src/types.ts`.
    "grafana-postgresql-datasource": {"refId", "datasource", "format", "rawQuery", "editorMode", "rawSql"},
}


def problems(name: str, dashboard: dict) -> list[str]:
    try:
        parsed = model.Dashboard.from_json(dashboard)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        return [f"{name}: the SDK cannot parse it: {error!r}"]
    found = lost(name, dashboard, plain(parsed))
    found += wrong_types(name, parsed, type(parsed))
    for panel in files.placed(dashboard):
        unit = panel.get("fieldConfig", {}).get("defaults", {}).get("unit")
        if unit is not None and unit not in UNITS and not unit.startswith(OWN_UNITS):
            found.append(f"{name}: {panel['title']}: unit `{unit}` is not known")
        for target in panel.get("targets", []):
            known = LEDGER_QUERIES.get(target["datasource"]["type"])
            if known and set(target) != known:
                found.append(f"{name}: {panel['title']}: query of the ledger has {sorted(target)}")
    return found


def plain(value):
    """What the SDK would write, as JSON has it."""
    if hasattr(value, "to_json"):
        return plain(value.to_json())
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, dict):
        return {key: plain(each) for key, each in value.items()}
    if isinstance(value, list):
        return [plain(each) for each in value]
    return value


def lost(where: str, given, written) -> list[str]:
    """Keys and values of `given` that `written` does not have."""
    if isinstance(given, dict) and isinstance(written, dict):
        found = [f"{where}.{key}: Grafana's schema does not know it" for key in given.keys() - written.keys()]
        for key in given.keys() & written.keys():
            found += lost(f"{where}.{key}", given[key], written[key])
        return found
    if isinstance(given, list) and isinstance(written, list) and len(given) == len(written):
        return [each for i, (a, b) in enumerate(zip(given, written)) for each in lost(f"{where}[{i}]", a, b)]
    return [] if given == written else [f"{where}: {given!r} is read as {written!r}"]


def wrong_types(where: str, value, hint) -> list[str]:
    """Values whose type is not the stated one."""
    origin = typing.get_origin(hint)
    if hint in (typing.Any, object) and hasattr(value, "from_json"):
        # What depends on the kind of panel or data source.
        hint = type(value)
    if hint in (typing.Any, object):
        return []
    if origin in (typing.Union, types.UnionType):
        options = [option for option in typing.get_args(hint) if (option is type(None)) == (value is None)]
        if type(value) in options:
            options = [type(value)]
        results = [wrong_types(where, value, option) for option in options or [type(None)]]
        return min(results, key=len)
    if origin is typing.Literal:
        return [] if value in typing.get_args(hint) else [f"{where}: {value!r} is not one of {hint}"]
    if origin is list:
        if not isinstance(value, list):
            return [f"{where}: {value!r} is no list"]
        (of,) = typing.get_args(hint)
        return [each for i, item in enumerate(value) for each in wrong_types(f"{where}[{i}]", item, of)]
    if origin is dict:
        return [] if isinstance(value, dict) else [f"{where}: {value!r} is no object"]
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        known = [each.value for each in hint]
        return [] if value in known else [f"{where}: {value!r} is none of {known}"]
    if hint is None or hint is type(None):
        return [] if value is None else [f"{where}: {value!r} must be absent"]
    if isinstance(value, dict) and hasattr(hint, "from_json"):
        # The SDK leaves some lists as they were given.
        parsed = hint.from_json(value)
        return lost(where, value, plain(parsed)) + wrong_types(where, parsed, hint)
    if hint is float:
        hint = (int, float)
    if isinstance(hint, (type, tuple)) and not isinstance(value, hint):
        return [f"{where}: {value!r} is not of type {hint}"]
    if hint is int and isinstance(value, bool):
        return [f"{where}: {value!r} is no number"]
    if hasattr(value, "from_json"):
        found = []
        for attribute, of in typing.get_type_hints(type(value)).items():
            if hasattr(value, attribute) and getattr(value, attribute) is not None:
                found += wrong_types(f"{where}.{attribute}", getattr(value, attribute), of)
        return found
    return []
