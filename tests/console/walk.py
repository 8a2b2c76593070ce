"""Walks through the console in a real Chromium, without JavaScript, and compares what it shows with the API's JSON.

Reads what there is from standard input: where the console is, tokens, the session and what the API says of it. Prints
the steps that it took, as JSON. Given a folder, it draws each page there.
"""

import json
import shutil
import sys
from pathlib import Path

from playwright.sync_api import Page, expect, sync_playwright

world = json.load(sys.stdin)
pictures = Path(sys.argv[1]) if len(sys.argv) > 1 else None
steps: list[str] = []
BASE, CUSTOMER = world["base"], world["customer"]
SESSION, ROWS = world["detail"]["session"], world["rows"]
HIDDEN = SESSION["hidden"]


def step(page: Page, name: str) -> None:
    steps.append(name)
    ids = page.locator("[id]").evaluate_all("all => all.map(each => each.id)")
    assert len(ids) == len(set(ids)), f"{name}: an id is there twice: {sorted(ids)}"
    if pictures:
        page.screenshot(path=pictures / f"{name}.png", full_page=True)


def texts(page: Page, css: str) -> list[str]:
    return [text.strip() for text in page.locator(css).all_inner_texts()]


def same(what: str, shown: object, told: object) -> None:
    assert shown == told, f"{what}: the page shows {shown!r}, the API says {told!r}"


def sign_in(page: Page, token: str) -> None:
    page.locator("#token").fill(token)
    page.locator("#sign-in").click()


def figures(page: Page) -> None:
    """The head and the table of the session, against the API."""
    currency = SESSION["currency"]
    for name in ("turns", "requests"):
        same(name, page.locator(f"#{name}").inner_text(), str(SESSION[name]))
    same("cost", page.locator("#cost").inner_text(), f"{SESSION['cost']} {currency}")
    for name in ("resent_tokens", "regenerations", "retries", "failed_requests", "failed_attempts"):
        same(name, page.locator(f"#{name}").inner_text(), str(HIDDEN[name]))
    for name in ("resent_cost", "cache_saving", "cache_saving_missed"):
        same(name, page.locator(f"#{name}").inner_text(), f"{HIDDEN[name]} {currency}")
    rows = sorted(ROWS, key=lambda row: (row["turn"], row["at"], row["request_id"]))
    for css, name in (("input", "input_total"), ("output", "output_total"), ("cost", "cost"), ("duration", "latency_ms")):
        same(name, texts(page, f"#turn-rows td.{css}"), [str(row[name]) for row in rows])
    same("resent", texts(page, "#turn-rows td.resent"), [str(row.get("resent_tokens", "–")) for row in rows])
    turns = world["detail"]["turns"]
    same("turns", texts(page, "#turn-rows tbody th"), [str(turn["turn"]) for turn in turns])
    same("costs of turns", texts(page, "#turn-rows td.turn-cost"), [turn["cost"] for turn in turns])
    same("cumulative", texts(page, "#turn-rows td.cumulative"), [turn["cumulative_cost"] for turn in turns])
    same("bars", page.locator("svg rect.bar").count(), len(turns))


def walk(page: Page) -> None:
    address = f"{BASE}{world['path']}"
    page.goto(address)
    expect(page).to_have_url(f"{BASE}/signin?next={world['path_encoded']}")
    step(page, "asked to sign in")

    sign_in(page, "pmt_wrong")
    expect(page.locator("#refusal")).to_have_text("This token is unknown or revoked.")
    step(page, "a wrong token is refused")

    sign_in(page, world["admin"])
    expect(page).to_have_url(address)
    expect(page.locator("#session")).to_have_text(SESSION["id"])
    figures(page)
    same("kinds", texts(page, "#turn-rows td.kind"), ["new", "continue", "regenerate", "branch"])
    same("title of the chart", page.locator("svg title").first.text_content(), "Cost by turn")
    step(page, "the page that was asked for")

    page.locator("main a", has_text="All sessions").click()
    expect(page).to_have_url(f"{BASE}/sessions")
    same("newest first", texts(page, "#sessions tbody .id"), [each["id"] for each in world["sessions"]])
    same("costs", texts(page, "#sessions tbody td:nth-child(4)"), [each["cost"] for each in world["sessions"]])
    step(page, "the list")

    page.locator("#customer").fill(CUSTOMER)
    page.locator(".filter button").click()
    own = [each["id"] for each in world["sessions"] if each["customer"] == CUSTOMER]
    same("filtered", texts(page, "#sessions tbody .id"), own)
    page.locator("#sessions .id", has_text=world["markup"]).click()
    expect(page.locator("#session")).to_have_text(world["markup"])
    same("markup that runs", page.locator("main b, main img, script").count(), 0)
    step(page, "a name with markup is text")

    page.goto(address)
    page.get_by_text("中文").click()
    expect(page).to_have_url(address)
    expect(page.locator("html")).to_have_attribute("lang", "zh-CN")
    figures(page)
    same("kinds", texts(page, "#turn-rows td.kind"), ["新会话", "继续", "重新生成", "分支"])
    step(page, "in Chinese")

    page.locator("#turn-rows a.record").first.click()
    record = json.loads(page.locator("body").inner_text())
    same("record", record["items"][0]["request_id"], min(row["request_id"] for row in ROWS))
    step(page, "the record of a request")

    page.goto(f"{BASE}/nothing")
    expect(page.locator("h1")).to_have_text("未找到")
    page.locator("#sign-out").click()
    expect(page).to_have_url(f"{BASE}/signin")
    page.goto(address)
    expect(page.locator("#token")).to_be_visible()
    step(page, "signed out")

    sign_in(page, world["own"])
    expect(page.locator("#session")).to_have_text(SESSION["id"])
    page.goto(f"{BASE}/sessions")
    same("of one customer", texts(page, "#sessions tbody .id"), own)
    same("filter by customer", page.locator("#customer").count(), 0)
    page.goto(f"{BASE}/sessions?customer={world['other']}")
    expect(page.locator("#problem")).to_have_text(f"404: customer `{world['other']}` is unknown")
    step(page, "a customer's token sees its own")


def schemes(page: Page) -> None:
    """Both schemes have a ground and an ink that differ, and the page is not wider than a phone."""
    colours = []
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        style = "([css, name]) => getComputedStyle(document.querySelector(css))[name]"
        colours.append([page.evaluate(style, each) for each in (["body", "backgroundColor"], ["body", "color"], [".bar", "fill"])])
        step(page, scheme)
    (light, dark) = colours
    assert all(first != second for first, second in zip(light, dark)), colours
    page.set_viewport_size({"width": 390, "height": 800})
    wide = page.evaluate("document.documentElement.scrollWidth")
    assert wide <= 390, f"on a phone of 390 px the page is {wide} px wide"
    step(page, "phone")


with sync_playwright() as playwright:
    # Root has no sandbox of its own.
    browser = playwright.chromium.launch(executable_path=shutil.which("chromium-headless-shell"), args=["--no-sandbox"])
    context = browser.new_context(locale="en-US", java_script_enabled=False)
    page = context.new_page()
    page.set_default_timeout(15_000)
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    walk(page)
    # A status that is no success is told there too, and wanted.
    complaints = [each for each in complaints if not each.startswith("Failed to load resource")]
    assert not complaints, complaints
    kept = context.cookies()
    assert all(each["sameSite"] == "Strict" for each in kept), kept
    assert all(world["own"] not in each["value"] and "pmt_" not in each["value"] for each in kept), kept
    looks = browser.new_context(locale="en-US").new_page()
    looks.goto(f"{BASE}{world['path']}")
    sign_in(looks, world["admin"])
    schemes(looks)
    browser.close()
print(json.dumps(steps))
