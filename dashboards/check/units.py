"""Values as people read them, in the units of Grafana that the dashboards use."""

import math


def written(value: float | None, unit: str, decimals: int | None = None) -> str:
    if value is None or math.isnan(value):
        return "no value"
    if unit.startswith("suffix:"):
        return f"{scaled(value, decimals)}{unit.removeprefix('suffix:')}"
    match unit:
        case "none":
            if 0 < abs(value) < 0.01 and decimals is None:
                return f"{value:.2g}"
            return number(value, decimals)
        case "short":
            return scaled(value, decimals)
        case "locale":
            return f"{value:,.0f}"
        case "percentunit":
            return f"{number(value * 100, decimals, 1)} %"
        case "reqps":
            return f"{scaled(value, decimals)} req/s"
        case "ops":
            return f"{scaled(value, decimals)} ops/s"
        case "cpm":
            return f"{scaled(value, decimals)} /min"
        case "bool_yes_no":
            return "Yes" if value else "No"
        case "s":
            return seconds(value)
        case "ms":
            return seconds(value / 1000)
        case "bytes":
            return stepped(value, 1024, ["B", "KiB", "MiB", "GiB", "TiB"])
    raise ValueError(f"unit {unit} cannot be drawn")


def number(value: float, decimals: int | None, most: int = 2) -> str:
    if decimals is not None:
        return f"{value:.{decimals}f}"
    text = f"{value:.{most}f}" if abs(value) < 100 else f"{value:.0f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def scaled(value: float, decimals: int | None) -> str:
    if 0 < abs(value) < 0.01 and decimals is None:
        return f"{value:.2g}"
    for size, sign in ((1e9, " Bil"), (1e6, " Mil"), (1e3, " K")):
        if abs(value) >= size:
            return number(value / size, decimals) + sign
    return number(value, decimals)


def seconds(value: float) -> str:
    if value == 0:
        return "0 s"
    for size, sign in ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs")):
        if abs(value) >= size:
            return f"{number(value / size, None)} {sign}"
    return f"{value:.1g} s"


def stepped(value: float, step: int, signs: list[str]) -> str:
    for sign in signs[:-1]:
        if abs(value) < step:
            return f"{number(value, None)} {sign}"
        value /= step
    return f"{number(value, None)} {signs[-1]}"
