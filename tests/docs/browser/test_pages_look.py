"""Pages of the site in Chromium, on a wide screen and a phone, light and dark; ``FUNCNET_PICTURES`` keeps pictures."""

import os
from pathlib import Path

import pytest

PAGES = {
    "front": "index",
    "learn": "learn/03_optimizers",
    "howto": "howto/freeze_layers",
    "guide": "guides/training",
    "reference": "reference/nn/Linear",
    "formula": "reference/optim/adamw",
    "architecture": "how_it_works/architecture",
    "example": "examples/mnist",
}
"""One page of each kind."""

SCREENS = {"wide": (1400, 900), "phone": (390, 844)}

WIDER = """(() => {
    const room = document.documentElement.clientWidth;
    const clipped = (e) => e && e !== document.body &&
        (["auto", "scroll", "hidden"].includes(getComputedStyle(e).overflowX) || clipped(e.parentElement));
    return [...document.querySelectorAll("article *")]
        .filter((e) => e.getBoundingClientRect().right > room + 1 && !clipped(e.parentElement))
        .filter((e) => e.tagName !== "MJX-ASSISTIVE-MML")
        .map((e) => `${e.tagName} ${e.className} ${e.textContent.slice(0, 40)}`).slice(0, 5);
})()"""
"""What reaches out of the page, and is in nothing that scrolls."""


def address(site, page):
    path = site / f"{page}.html"
    assert path.exists(), f"this site has no page {page}"
    return path.as_uri()


def formulas_ready(browser):
    if browser.evaluate("document.querySelector('.math') !== null"):
        browser.wait_for("document.querySelector('mjx-container') !== null")


def keep(browser, name):
    if folder := os.environ.get("FUNCNET_PICTURES"):
        Path(folder).mkdir(parents=True, exist_ok=True)
        browser.screenshot(Path(folder) / f"{name}.png", whole=False)


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("screen", SCREENS)
@pytest.mark.parametrize("kind", PAGES)
def test_a_page_fits_its_screen_and_asks_nobody(site, browser, kind, screen, dark):
    width, height = SCREENS[screen]
    browser.go(address(site, PAGES[kind]), width, height, dark, mobile=screen == "phone")
    formulas_ready(browser)
    keep(browser, f"{kind}-{screen}-{'dark' if dark else 'light'}")
    assert browser.evaluate("document.documentElement.scrollWidth") <= width
    assert browser.evaluate(WIDER) == []
    assert browser.evaluate("document.querySelectorAll('mjx-merror, [data-mjx-error]').length") == 0
    assert [url for url in browser.requested() if not url.startswith(("file:", "data:"))] == []
    assert browser.complaints() == []


def test_formulas_are_drawn(site, browser):
    browser.go(address(site, PAGES["formula"]))
    assert browser.evaluate("document.querySelectorAll('.math').length") > 0
    browser.wait_for(
        "document.querySelectorAll('mjx-container').length >= document.querySelectorAll('.math').length"
    )


COPIED = """(async () => {
    let copied = null;
    navigator.clipboard.writeText = (text) => { copied = text; return Promise.resolve(); };
    document.execCommand = () => { copied ??= String(document.activeElement.value ?? getSelection()); return true; };
    const buttons = [...document.querySelectorAll("button.copybtn")];
    const wanted = buttons.find((b) => (b.closest(".highlight") ?? b.parentElement).textContent.includes(WANTED));
    if (!wanted) return "no button";
    wanted.click();
    await new Promise((done) => setTimeout(done, 300));
    return copied;
})()"""


@pytest.mark.parametrize(
    ("page", "has"), [("reference/nn/Linear", ">>>"), ("howto/freeze_layers", "import")]
)
def test_the_copy_button_copies_code_without_prompts(site, browser, page, has):
    browser.go(address(site, page))
    copied = browser.evaluate(COPIED.replace("WANTED", f"{has!r}"))
    assert copied
    assert copied != "no button"
    assert ">>>" not in copied
    assert "nn." in copied


def test_both_programs_of_the_front_page_are_seen_whole(site, browser):
    browser.go(address(site, "index"), *SCREENS["wide"])
    programs = "[...document.querySelectorAll('.beside .cell_input pre, .beside > div > div[class*=highlight] pre')]"
    assert browser.evaluate(f"{programs}.length") == 2
    assert browser.evaluate(f"{programs}.map((e) => e.scrollWidth - e.clientWidth)") == [0, 0]
    outputs = "[...document.querySelectorAll('.beside .cell_output')]"
    scrolled = f"{outputs}.filter((e) => getComputedStyle(e).overflowY !== 'hidden').length"
    assert browser.evaluate(f"{outputs}.length") == 1
    assert browser.evaluate(scrolled) == 0


def test_the_button_changes_the_colours(site, browser):
    browser.go(address(site, "index"))
    theme = "document.body.dataset.theme"
    before = browser.evaluate(theme)
    click = "[...document.querySelectorAll('.theme-toggle')].find((b) => b.offsetParent).click()"
    seen = {before}
    for _ in range(2):
        browser.evaluate(click)
        seen.add(browser.evaluate(theme))
    assert seen == {"auto", "light", "dark"}
    browser.evaluate(click)
    assert browser.evaluate(theme) == before


def test_the_sidebar_lists_the_versions(site, browser):
    browser.go(address(site, "index"))
    shown = browser.evaluate("document.querySelector('#versions select').value")
    assert shown == site.name
