"""A copy of the rules in which hours are seconds, so that a test sees an alert fire and clear."""

import pathlib
import re

import files

# Order is kept: what is longer stays longer.
WINDOWS = {
    "5m": "5s", "10m": "6s", "15m": "6s", "30m": "8s", "1h": "10s", "6h": "12s", "1d": "14s", "3d": "14s",
    "7d": "20s", "1w": "20s",
}
# What a test cannot wait for, and what a busy machine exceeds by itself: the alert's threshold, and that of the copy.
THRESHOLDS = {
    "PermilleJournalLag": ("> 300", "> 3"),
    "PermilleUsageStreamLag": ("> 300", "> 3"),
    "PermilleWebhooksLate": ("> 21600", "> 6"),
    "PermilleLimitsUntold": ("> 1000", "> 10"),
    "PermilleOverheadHigh": ("> 0.025", "> 0.25"),
    "PermilleDiskSlow": ("> 0.05", "> 0.25"),
}


def shortened(text: str) -> str:
    """`text` of a rule file with short windows, offsets and pauses, and the thresholds above; others stay."""
    text = re.sub(r"\[(\w+)\]", lambda m: f"[{WINDOWS[m[1]]}]", text)
    text = re.sub(r"\boffset (\w+)", lambda m: f"offset {WINDOWS[m[1]]}", text)
    text = re.sub(r"^( +)for: \w+$", r"\1for: 0s", text, flags=re.MULTILINE)
    return re.sub(r"^ +- alert: (\w+)$.*?(?=^ +labels:)", lower, text, flags=re.MULTILINE | re.DOTALL)


def lower(alert: re.Match) -> str:
    """An alert with its threshold in the copy."""
    if alert[1] not in THRESHOLDS:
        return alert[0]
    shipped, short = THRESHOLDS[alert[1]]
    text, count = re.subn(rf"{re.escape(shipped)}\b", short, alert[0])
    assert count == 1, f"{alert[1]}: `{shipped}` stands {count} times in it"
    return text


def write(folder: pathlib.Path) -> int:
    for path in files.rule_files():
        (folder / path.name).write_text(shortened(path.read_text(encoding="utf-8")), encoding="utf-8")
    return len(files.rule_files())
