"""What a dashboard shows before anybody scrolls, as far as its JSON tells: on a laptop and on a wall.

Sizes are Grafana's: a grid of 24 columns, a unit of height of 30 px with 8 px between, some 80 px of its own above.
Text has Grafana's own sizes, 14 px for titles and 12 px for legends, of which a character takes 7 px on average.
"""

import files

# Width and height in px.
LAPTOP, WALL = (1366, 768), (1920, 1080)
COLUMNS, UNIT, GAP, ABOVE, BESIDE = 24, 30, 8, 80, 32
# Left of a panel's title, right of it, and the mark of its description.
AROUND_TITLE, CHARACTER = 38, 7
# Characters of a legend's own words; labels come to them.
LEGEND_MAX = 40
# The page behind the first screen: so many more screens of a laptop are looked through.
SCREENS_MAX = 5
# What each dashboard is opened for. Whole on a laptop's first screen.
KEY = {
    "cost": ("Cost", "A month at this pace", "Cost per hour by customer, $currency"),
    "customer": ("Cost, $currency", "Per hour, now", "Cost per hour, $currency"),
    "finance": ("Month to date and forecast", "Forecast by customer, $currency"),
    "metering": ("Reported by the provider", "Contradictory replies", "In quarantine", "Tokens by class"),
    "overview": ("Alerts", "Failures", "Overhead, p99", "Usage waits for billing", "Answers by status"),
    "sessions": ("Resent share of input", "An accepted result", "Cost of turn k, $currency"),
}
# The same on a wall, from which nobody scrolls.
KEY_ON_WALL = {
    "cost": ("Margin by customer, $currency",),
    "customer": ("Tokens by model",),
    "finance": ("The month's budget used, $currency",),
    "metering": ("Not reported, by family",),
    "overview": ("Burn rate", "Failed calls, share"),
    "sessions": ("Tokens by turn",),
}


def units(screen: tuple[int, int]) -> int:
    """Whole units of height on a screen."""
    return (screen[1] - ABOVE) // (UNIT + GAP)


def problems(board: str, dashboard: dict) -> list[str]:
    found = []
    shown = {panel["title"]: panel["gridPos"] for panel in dashboard["panels"]}
    for screen, name, keys in ((LAPTOP, "laptop", KEY), (WALL, "wall", KEY_ON_WALL)):
        for title in keys.get(board, ()):
            at = shown.get(title)
            if at is None or at["y"] + at["h"] > units(screen):
                found.append(f"{board}: {title}: not whole on the first screen of a {name}")
    if board not in KEY or board not in KEY_ON_WALL:
        found.append(f"{board}: check/screen.py does not say what it is opened for")
    ends = max(at["y"] + at["h"] for at in shown.values())
    if ends > SCREENS_MAX * units(LAPTOP):
        found.append(f"{board}: longer than {SCREENS_MAX} screens of a laptop: collapse rows")
    for panel in files.placed(dashboard):
        if panel["type"] != "row":
            found += [f"{board}: {panel['title']}: {text}" for text in of_panel(panel)]
    return found


def of_panel(panel: dict) -> list[str]:
    found = []
    width = panel["gridPos"]["w"] * (LAPTOP[0] - BESIDE) / COLUMNS - GAP
    title = files.fill(panel["title"], files.VALUES)
    if len(title) * CHARACTER > width - AROUND_TITLE:
        found.append("its title is cut on a laptop")
    if "text" in panel["options"]:
        found.append("text has Grafana's own size")
    for target in panel.get("targets", []):
        if len(target.get("legendFormat", "")) > LEGEND_MAX:
            found.append(f"a legend of more than {LEGEND_MAX} characters")
    return found
