"""Pictures of dashboards: each panel's JSON and what its queries give, drawn by matplotlib.

This is not Grafana's own rendering: Grafana cannot run where the tests do. It shows what a panel would
show, in the same place, with the same unit and legend, so that a person can judge it.
"""

import dataclasses
import datetime
import io
import math
import pathlib
import re
import time

import matplotlib

matplotlib.use("Agg")

import matplotlib.dates as dates
import matplotlib.pyplot as plt
from matplotlib.ticker import FuncFormatter, MaxNLocator, MultipleLocator
from PIL import Image

import files
import live
import screen
from units import written

DPI = 100
COLORS = ["#7eb26d", "#e5ac0e", "#6ed0e0", "#ef843c", "#e24d42", "#1f78c1", "#ba43a9", "#705da0", "#508642", "#cca300"]
NAMED = {
    "green": "#56a64b", "orange": "#ff780a", "red": "#e02f44", "dark-red": "#c4162a", "blue": "#3274d9",
    "yellow": "#f2cc0c", "purple": "#a352cc",
}
INK, MUTED, EDGE = "#24292e", "#6e7680", "#d8dadd"
LEGEND_MAX = 6
PICTURE_BYTES_MAX = 250_000
# Enough that text keeps its colour.
COLORS_MAX = 128
FOOT = (
    "Drawn by dashboards/check from the panels' JSON and the answers of a real Prometheus and ledger to their queries; "
    "not Grafana's own rendering. Times of recorded rules are shortened: hours are seconds."
)


@dataclasses.dataclass(frozen=True)
class Page:
    """What a dashboard is drawn on, in inches: its width, one unit of the grid's height, what is above the first row,
    and its height where that is not as much as is needed."""

    width: float = 14.4
    unit: float = 0.30
    head: float = 0.62
    height: float | None = None

    @classmethod
    def screen(cls, size: tuple[int, int]) -> "Page":
        """What is seen of it at first on a screen of so many px."""
        width, height = (px / DPI for px in size)
        return cls(width, (screen.UNIT + screen.GAP) / DPI, screen.ABOVE / DPI, height)


def all_boards(url: str, ledger_file: str, folder: pathlib.Path, seconds: float = 240, **values: str):
    prometheus, ledger = live.Prometheus(url), live.Ledger(ledger_file)
    end = time.time()
    problems = []
    for name, dashboard in files.boards().items():
        pages = {
            name: (files.opened(dashboard), Page()),
            f"{name}-laptop": (dashboard, Page.screen(screen.LAPTOP)),
            f"{name}-wall": (dashboard, Page.screen(screen.WALL)),
        }
        for file, (shown, page) in pages.items():
            picture = board(shown, name, page, prometheus, ledger, end - seconds, end, values)
            path = folder / f"{file}.png"
            path.write_bytes(picture)
            if len(picture) > PICTURE_BYTES_MAX:
                problems.append(f"{path}: {len(picture)} bytes, at most {PICTURE_BYTES_MAX}")
    return problems, f"{len(files.boards())} dashboards in {folder}, each whole and as two screens show it at first"


def board(
    dashboard: dict, name: str, page: Page, prometheus, ledger, start: float, end: float, values: dict
) -> bytes:
    units = max(p["gridPos"]["y"] + p["gridPos"]["h"] for p in dashboard["panels"])
    height = page.height or page.head + units * page.unit + 0.3
    figure = plt.figure(figsize=(page.width, height), dpi=DPI, facecolor="#f3f4f6")

    def at(x: float, y: float, w: float, h: float) -> list[float]:
        """A place on the grid, in parts of the figure."""
        top = page.head + y * page.unit
        return [x / 24, 1 - (top + h * page.unit) / height, w / 24, h * page.unit / height]

    figure.text(0.01, 1 - 0.25 / height, dashboard["title"], size=15, weight="bold", color=INK, va="center")
    figure.text(0.01, 1 - 0.50 / height, dashboard["description"], size=9, color=MUTED, va="center")
    # Where the page has an end, panels are at its foot.
    foot = 1 - 0.70 / height if page.height else 0.1 / height
    figure.text(0.01, foot, FOOT, size=7.5, color=MUTED, va="center")
    panels = {id(p.json): p for p in files.panels(name, dashboard)}
    marks = annotations(dashboard, prometheus, ledger, start, end, values)
    for each in dashboard["panels"]:
        grid = each["gridPos"]
        if page.head + grid["y"] * page.unit >= height:
            continue
        if each["type"] == "row":
            left, bottom, _, tall = at(grid["x"], grid["y"], grid["w"], grid["h"])
            title = filled(each["title"], values)
            figure.text(left + 0.01, bottom + tall / 2, f"{'▸' if each['panels'] else '▾'} {title}", size=10.5, weight="bold", color=INK, va="center")
            continue
        left, bottom, wide, tall = at(grid["x"], grid["y"], grid["w"], grid["h"])
        box = figure.add_axes([left + 0.003, bottom + 0.04 / height, wide - 0.006, tall - 0.08 / height])
        box.set(xticks=[], yticks=[], facecolor="white")
        for side in box.spines.values():
            side.set_color(EDGE)
        title = filled(each["title"], values)
        box.text(
            0.08 / (wide * page.width), 1 - 0.14 / (tall * height), title,
            size=8.5, weight="bold", color=INK, va="center", transform=box.transAxes,
        )
        Drawing(figure, (left, bottom, wide, tall), height, each, marks).draw(
            panels[id(each)], prometheus, ledger, start, end, values
        )
    raw = io.BytesIO()
    figure.savefig(raw, format="png", dpi=DPI)
    plt.close(figure)
    small = io.BytesIO()
    Image.open(raw).convert("RGB").quantize(COLORS_MAX).save(small, format="png", optimize=True)
    return small.getvalue()


def annotations(dashboard: dict, prometheus, ledger, start: float, end: float, values: dict) -> list[tuple[float, str]]:
    """When something happened that every panel over time marks, and in which colour."""
    found = []
    for each in dashboard["annotations"]["list"]:
        color = NAMED[each["iconColor"]]
        if "expr" in each:
            series = prometheus.range(filled(each["expr"], values), start, end, live.STEP_SECONDS)
            found += [(one["values"][0][0], color) for one in series]
        else:
            rows = ledger.rows(files.sql(each["target"]), start, end, **values)
            found += [(row["time"], color) for row in rows]
    return found


def filled(text: str, values: dict) -> str:
    return files.fill(text, files.VALUES | values)


def legend(query: files.Query, labels: dict) -> str:
    return re.sub(r"{{(\w+)}}", lambda m: labels.get(m[1], ""), query.legend).strip() or "value"


class Drawing:
    """One panel in its place."""

    def __init__(self, figure, place, figure_height: float, json: dict, marks: list[tuple[float, str]]) -> None:
        self.figure, self.place, self.figure_height = figure, place, figure_height
        self.width = figure.get_figwidth()
        self.json, self.marks = json, marks
        self.defaults = json["fieldConfig"]["defaults"]
        self.unit, self.decimals = self.defaults["unit"], self.defaults.get("decimals")
        self.colors = {
            each["matcher"]["options"]: NAMED[p["value"]["fixedColor"]]
            for each in json["fieldConfig"]["overrides"]
            for p in each["properties"]
            if p["id"] == "color"
        }

    def axes(self, left: float, bottom: float, right: float = 0.15, top: float = 0.32):
        """The inside of the panel, with these margins in inches."""
        x, y, w, h = self.place
        height = self.figure_height
        return self.figure.add_axes([
            x + left / self.width, y + bottom / height,
            w - (left + right) / self.width, h - (bottom + top) / height,
        ])

    def text(self, value: float | None) -> str:
        return written(value, self.unit, self.decimals)

    def draw(self, panel, prometheus, ledger, start, end, values) -> None:
        if panel.sql:
            return self.table(ledger.rows(panel.sql[0].text, panel.start(start, end), end, **values))
        answers = [
            (query, live.answer(prometheus, query, start, end, max(1, (end - start) // 200), **values))
            for query in panel.queries
        ]
        series = [(legend(query, each["metric"]), each) for query, found in answers for each in found]
        if not series:
            return self.nothing()
        getattr(self, self.json["type"])(series, start, end)

    def nothing(self) -> None:
        axes = self.axes(0.1, 0.1)
        axes.axis("off")
        text = self.defaults.get("noValue", "no data")
        axes.text(0.5, 0.5, text, ha="center", va="center", color=MUTED, size=10)

    def colored(self, value: float) -> str:
        if self.defaults["color"]["mode"] != "thresholds":
            return INK
        reached = [s["color"] for s in self.defaults["thresholds"]["steps"] if s["value"] is None or value >= s["value"]]
        return NAMED[reached[-1]]

    def stat(self, series, start, end) -> None:
        label, found = series[0]
        points = [found["value"]] if "value" in found else found["values"]
        numbers = [float(v) for _, v in points if not math.isnan(float(v))]
        if not numbers:
            return self.nothing()
        color = self.colored(numbers[-1])
        axes = self.axes(0.02, 0.02, 0.02)
        axes.axis("off")
        if len(points) > 2:
            xs = [t for t, _ in points]
            ys = [float(v) for _, v in points]
            axes.fill_between(xs, ys, color=color, alpha=0.12, linewidth=0)
            axes.plot(xs, ys, color=color, linewidth=0.8, alpha=0.6)
            finite = [y for y in ys if not math.isnan(y)]
            axes.set_ylim(0, max(max(finite) * 2.2, 1e-12))
            axes.set_xlim(xs[0], xs[-1])
        text = self.text(numbers[-1])
        axes.text(0.5, 0.55, text, ha="center", va="center", size=19, weight="bold", color=color, transform=axes.transAxes)

    def shade(self, label: str, index: int) -> str:
        return self.colors.get(label, COLORS[index % len(COLORS)])

    def timeseries(self, series, start, end) -> None:
        custom = self.defaults["custom"]
        lines = math.ceil(min(len(series), LEGEND_MAX) / max(1, self.json["gridPos"]["w"] // 4))
        axes = self.axes(1.1 if self.unit.startswith("suffix:") else 0.72, 0.38 + 0.16 * lines)
        stacked = custom["stacking"]["mode"] == "normal"
        times = sorted({t for _, each in series for t, _ in each["values"]})
        when = [datetime.datetime.fromtimestamp(t, datetime.UTC) for t in times]
        base = [0.0] * len(times)
        top = 0.0
        for index, (label, each) in enumerate(series):
            got = {t: float(v) for t, v in each["values"]}
            ys = [got.get(t, 0.0 if stacked else math.nan) for t in times]
            color = self.shade(label, index)
            if stacked:
                above = [b + (0 if math.isnan(y) else y) for b, y in zip(base, ys)]
                axes.fill_between(when, base, above, color=color, alpha=0.45, linewidth=0)
                axes.plot(when, above, color=color, linewidth=1, label=label)
                base = above
                top = max(top, *above)
            elif custom["drawStyle"] == "bars":
                axes.bar(when, ys, width=(end - start) / 86400 / max(60, len(times)), color=color, label=label)
            else:
                axes.plot(when, ys, color=color, linewidth=1.1, label=label)
            top = max([top] + [y for y in ys if not math.isnan(y)])
        for step in self.defaults["thresholds"]["steps"]:
            if custom["thresholdsStyle"]["mode"] == "dashed" and step["value"] is not None and step["value"] < top * 1.5:
                axes.axhline(step["value"], color=NAMED[step["color"]], linewidth=0.9, linestyle="--")
        self.dress(axes, start, end)
        axes.set_ylim(self.defaults.get("min", 0), self.defaults.get("max", top * 1.08 if top else 1))
        if self.unit == "bytes" and top:
            axes.yaxis.set_major_locator(MultipleLocator(2 ** math.ceil(math.log2(top / 4))))
        handles, labels = axes.get_legend_handles_labels()
        axes.legend(
            handles[:LEGEND_MAX], [cut(label, 34) for label in labels[:LEGEND_MAX]], loc="upper left",
            bbox_to_anchor=(-0.04, -0.33 / (axes.get_position().height * self.figure_height)),
            ncol=max(1, self.json["gridPos"]["w"] // 4), fontsize=7, frameon=False, handlelength=1, borderpad=0,
            columnspacing=1, labelspacing=0.2,
        )

    def dress(self, axes, start, end) -> None:
        axes.set_xlim(
            datetime.datetime.fromtimestamp(start, datetime.UTC), datetime.datetime.fromtimestamp(end, datetime.UTC)
        )
        axes.xaxis.set_major_locator(dates.AutoDateLocator(minticks=3, maxticks=7 if self.json["gridPos"]["w"] >= 8 else 4))
        # At the edge there is no room for a time; dates are numbers of days.
        last = end - (end - start) * 0.05
        axes.xaxis.set_major_formatter(
            FuncFormatter(lambda day, _: "" if day * 86400 > last else f"{dates.num2date(day):%H:%M:%S}")
        )
        for at, color in self.marks:
            when = datetime.datetime.fromtimestamp(at, datetime.UTC)
            axes.axvline(when, color=color, linewidth=0.7, linestyle=":", zorder=0.5)
        axes.yaxis.set_major_locator(MaxNLocator(nbins=4, min_n_ticks=2))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: written(value, self.unit)))
        if self.unit == "bool_yes_no":
            axes.set_yticks([0, 1])
        axes.grid(color="#e4e7ea", linewidth=0.7)
        axes.set_axisbelow(True)
        axes.tick_params(labelsize=7, colors=MUTED, length=0)
        axes.tick_params(axis="x", pad=6)
        for side in axes.spines.values():
            side.set_visible(False)

    def bargauge(self, series, start, end) -> None:
        values = [(label, float(each["value"][1])) for label, each in series]
        values = sorted((v for v in values if not math.isnan(v[1])), key=lambda v: v[1])[-10:]
        if not values:
            return self.nothing()
        axes = self.axes(0.15, 0.1, 0.75)
        most = self.defaults.get("max", max(v for _, v in values) or 1)
        for index, (label, value) in enumerate(values):
            color = self.colored(value) if self.defaults["color"]["mode"] == "thresholds" else COLORS[index % len(COLORS)]
            axes.barh(index, most, color="#f1f2f3", height=0.42)
            axes.barh(index, min(value, most), color=color, height=0.42)
            axes.text(0, index + 0.26, cut(label, 60), size=7.5, color=INK, va="bottom")
            axes.text(most * 1.01, index, self.text(value), size=8, color=INK, va="center", weight="bold")
        axes.set_xlim(0, most)
        axes.set_ylim(-0.5, len(values) - 0.2)
        axes.axis("off")

    def barchart(self, series, start, end) -> None:
        over = self.json["options"]["xField"]
        columns = next((t["options"]["columnField"] for t in self.json["transformations"] if "columnField" in t["options"]), None)
        bars: dict[str, dict[str, float]] = {}
        for _, each in series:
            name = each["metric"].get(columns, "value") if columns else "value"
            bars.setdefault(name, {})[each["metric"][over]] = float(each["value"][1])
        places = sorted({p for each in bars.values() for p in each}, key=lambda p: [int(n) for n in re.findall(r"\d+", p)])
        axes = self.axes(0.72, 0.52 if columns else 0.34)
        base = dict.fromkeys(places, 0.0)
        for index, (name, each) in enumerate(sorted(bars.items())):
            ys = [each.get(p, 0.0) for p in places]
            drawn = axes.bar(places, ys, bottom=[base[p] for p in places], color=COLORS[index % len(COLORS)], label=name, width=0.7)
            if not columns:
                axes.bar_label(drawn, [self.text(y) for y in ys], size=7, color=INK, padding=2)
            for place, y in zip(places, ys):
                base[place] += y
        axes.yaxis.set_major_locator(MaxNLocator(nbins=4))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: written(value, self.unit)))
        axes.grid(axis="y", color="#eceff1", linewidth=0.7)
        axes.set_axisbelow(True)
        axes.tick_params(labelsize=7.5, colors=MUTED, length=0)
        axes.set_ylim(0, self.defaults.get("max", max(base.values()) * 1.15 or 1))
        for side in axes.spines.values():
            side.set_visible(False)
        if columns:
            axes.legend(loc="upper left", bbox_to_anchor=(-0.08, -0.1), ncol=4, fontsize=7, frameon=False, handlelength=1)

    def heatmap(self, series, start, end) -> None:
        buckets = sorted(((float(e["metric"]["le"]), e) for _, e in series), key=lambda b: b[0])
        times = sorted({t for _, each in buckets for t, _ in each["values"]})
        grid, below = [], [0.0] * len(times)
        for _, each in buckets:
            got = {t: float(v) for t, v in each["values"]}
            row = [got.get(t, 0.0) for t in times]
            # Where nothing is, Grafana draws nothing.
            grid.append([a - b if a - b > 1e-9 else math.nan for a, b in zip(row, below)])
            below = row
        axes = self.axes(0.72, 0.36)
        when = [datetime.datetime.fromtimestamp(t, datetime.UTC) for t in times]
        most = max((c for row in grid for c in row if not math.isnan(c)), default=1)
        axes.pcolormesh(when, range(len(buckets)), grid, cmap="Oranges", vmin=0, vmax=most, shading="nearest")
        self.dress(axes, start, end)
        axes.yaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
        names = [written(le, self.unit) if le != math.inf else "more" for le, _ in buckets]
        axes.yaxis.set_major_formatter(FuncFormatter(lambda v, _: names[int(v)] if 0 <= v < len(names) else ""))

    def table(self, rows) -> None:
        if isinstance(rows, list) and rows and isinstance(rows[0], tuple):
            rows = [each["metric"] | {"value": float(each["value"][1])} for _, each in rows]
        if not rows:
            return self.nothing()
        columns = {
            each["matcher"]["options"]: {p["id"]: p["value"] for p in each["properties"]}
            for each in self.json["fieldConfig"]["overrides"]
        }
        axes = self.axes(0.12, 0.06, 0.12, 0.34)
        axes.axis("off")
        room = int((self.place[3] * self.figure_height - 0.4) / 0.235) - 1
        names = list(rows[0])
        widths = [max([len(n)] + [len(self.cell(n, r[n], columns)) for r in rows[:room]]) + 2 for n in names]
        left = [sum(widths[:i]) / sum(widths) for i in range(len(names))]
        for line, row in enumerate([dict(zip(names, names)), *rows[:room]]):
            y = 1 - (line + 0.5) / (room + 1)
            for name, x in zip(names, left):
                text = name if line == 0 else self.cell(name, row[name], columns)
                linked = line and "links" in columns.get(name, {})
                axes.text(
                    x, y, text, size=8, va="center", weight="bold" if line == 0 else "normal",
                    color=MUTED if line == 0 else "#1f60c4" if linked else INK, transform=axes.transAxes,
                )

    def cell(self, name: str, value, columns: dict) -> str:
        if columns.get(name, {}).get("unit") == "dateTimeAsIso":
            return datetime.datetime.fromtimestamp(value / 1000, datetime.UTC).strftime("%Y-%m-%d %H:%M:%S")
        if isinstance(value, (int, float)):
            column = columns.get(name, {})
            return written(float(value), column.get("unit", self.unit), column.get("decimals"))
        return cut("" if value is None else str(value), 40)


def cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
