"""How each kind of panel looks: its options, its legend and what becomes of its frames."""


def timeseries(wanted: dict, made: dict, defaults: dict) -> None:
    stacked = wanted.get("stack")
    custom = {
        "drawStyle": "bars" if wanted.get("bars") else "line",
        "lineInterpolation": "linear",
        "lineWidth": 1,
        "fillOpacity": 30 if stacked else 8,
        "showPoints": "never",
        "spanNulls": False,
        "stacking": {"mode": stacked or "none", "group": "A"},
        "thresholdsStyle": {"mode": "dashed" if "steps" in wanted else "off"},
    }
    if wanted.get("logarithmic"):
        custom["scaleDistribution"] = {"type": "log", "log": 10}
    else:
        defaults.setdefault("min", 0)
    defaults["color"] = {"mode": "palette-classic"}
    defaults["custom"] = custom
    made["options"] = {
        "legend": {
            "showLegend": True,
            "displayMode": "list",
            "placement": "bottom",
            "calcs": ["lastNotNull", "max"] if wanted.get("calcs") else [],
        },
        "tooltip": {"mode": "multi", "sort": "desc"},
    }


def stat(wanted: dict, made: dict, defaults: dict) -> None:
    made["options"] = {
        "reduceOptions": {"calcs": [wanted.get("calc", "lastNotNull")], "fields": "", "values": False},
        "colorMode": "value" if "steps" in wanted else "none",
        "graphMode": "none" if wanted.get("instant") else "area",
        "textMode": wanted.get("text", "auto"),
        "justifyMode": "auto",
        "orientation": "auto",
        "wideLayout": True,
    }


def bargauge(wanted: dict, made: dict, defaults: dict) -> None:
    defaults.setdefault("min", 0)
    if "steps" not in wanted:
        defaults["color"] = {"mode": "continuous-BlYlRd" if wanted.get("heat") else "palette-classic"}
    made["options"] = {
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        "orientation": "horizontal",
        "displayMode": "gradient" if wanted.get("heat") else "basic",
        "valueMode": "color",
        "namePlacement": "auto",
        "showUnfilled": True,
        "sizing": "auto",
        "minVizWidth": 8,
        "minVizHeight": 16,
        "maxVizHeight": 48,
        "legend": {"showLegend": False, "displayMode": "list", "placement": "bottom", "calcs": []},
    }


def barchart(wanted: dict, made: dict, defaults: dict) -> None:
    """Bars over the values of one label, in the order of `order`; one series for each other label."""
    over, by = wanted["over"], wanted.get("by")
    defaults["custom"] = {"fillOpacity": 80, "lineWidth": 1, "axisSoftMin": 0}
    made["options"] = {
        "xField": over,
        "orientation": "vertical",
        "stacking": "normal" if wanted.get("stack") else "none",
        "showValue": "auto",
        "groupWidth": 0.7,
        "barWidth": 0.9,
        "xTickLabelRotation": 0,
        "xTickLabelSpacing": 0,
        "legend": {"showLegend": True, "displayMode": "list", "placement": "bottom", "calcs": []},
        "tooltip": {"mode": "multi", "sort": "none"},
    }
    if by:
        made["transformations"] = [
            {
                "id": "groupingToMatrix",
                "options": {"columnField": by, "rowField": over, "valueField": "Value"},
            },
            {
                "id": "organize",
                "options": {"renameByName": {f"{over}\\{by}": over}},
            },
        ]
    else:
        made["transformations"] = [
            {"id": "organize", "options": {"excludeByName": {"Time": True}}},
        ]
    made["transformations"].append(
        {"id": "sortBy", "options": {"fields": {}, "sort": [{"field": over, "desc": False}]}}
    )


def heatmap(wanted: dict, made: dict, defaults: dict) -> None:
    defaults["custom"] = {"scaleDistribution": {"type": "linear"}}
    made["options"] = {
        "calculate": False,
        "cellGap": 1,
        "cellValues": {"unit": "short"},
        "color": {
            "mode": "scheme",
            "scheme": "Oranges",
            "exponent": 0.5,
            "fill": "dark-orange",
            "scale": "exponential",
            "reverse": False,
            "steps": 64,
        },
        "exemplars": {"color": "rgba(255,0,255,0.7)"},
        "filterValues": {"le": 1e-9},
        "legend": {"show": True},
        "rowsFrame": {"layout": "auto"},
        "showValue": "never",
        "tooltip": {"mode": "single", "yHistogram": False},
        "yAxis": {"axisPlacement": "left", "reverse": False, "unit": wanted["unit"]},
    }


def table(wanted: dict, made: dict, defaults: dict) -> None:
    defaults["custom"] = {"align": "auto", "cellOptions": {"type": "auto"}, "inspect": False}
    made["options"] = {"showHeader": True, "cellHeight": "sm", "footer": {"show": False, "reducer": []}}
    if "sql" not in wanted:
        made["transformations"] = [
            {"id": "organize", "options": {"excludeByName": {"Time": True}}},
        ]


SHAPES = {
    "timeseries": timeseries,
    "stat": stat,
    "bargauge": bargauge,
    "barchart": barchart,
    "heatmap": heatmap,
    "table": table,
}
