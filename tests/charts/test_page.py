"""The page of `ckvd view` in a browser: what is drawn, in both themes and on a narrow screen, and what is requested."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING
from urllib.parse import urlencode, urlsplit

import pytest
from playwright.sync_api import Error, expect, sync_playwright

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, Page

    from ckvd_sql.charts.server import ViewServer

ARGUMENTS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
]
GAP = {"symbol": "BTCUSDT", "market": "spot", "interval": "1h", "start": "2023-03-24", "end": "2023-03-26"}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        pytest.skip("there is no Chromium to look at the page with")
    with sync_playwright() as playwright:
        try:
            running = playwright.chromium.launch(executable_path=found, args=ARGUMENTS)
        except Error as error:
            pytest.skip(f"Chromium does not start here: {error}")
        yield running
        running.close()


@pytest.fixture
def page(browser: Browser, server: ViewServer) -> Iterator[Page]:
    """A page that may ask its own server alone, and says nothing on the console."""
    opened = browser.new_page(viewport={"width": 1280, "height": 900}, color_scheme="light")
    hosts: set[str] = set()
    said: list[str] = []
    opened.on("request", lambda request: hosts.add(urlsplit(request.url).netloc))
    opened.on("console", lambda message: said.append(message.text))
    opened.on("pageerror", lambda error: said.append(str(error)))
    yield opened
    opened.close()
    assert hosts - {""} == {urlsplit(server.url).netloc}
    assert said == []


def test_the_bars_and_the_gap_of_a_range_are_drawn(page: Page, server: ViewServer) -> None:
    page.goto(f"{server.url}?{urlencode(GAP)}")
    expect(page.locator("#status")).to_contain_text("47 bars")
    expect(page.locator("#status")).to_contain_text("1 bar is missing at the exchange")
    expect(page.locator("#status")).to_contain_text("UTC")
    expect(page.locator("#chart")).to_have_attribute("data-bars", "47")
    expect(page.locator("#chart canvas").first).to_be_visible()
    expect(page.locator("#chart a[href*='tradingview.com']")).to_have_count(1)


def test_the_first_view_is_of_the_first_cached_series(page: Page, server: ViewServer) -> None:
    page.goto(server.url)
    expect(page.locator("#symbol")).to_have_value("BTCUSDT")
    expect(page.locator("#chart")).to_have_attribute("data-bars", "2208")
    expect(page.locator("#start")).to_be_hidden()


def test_pickers_change_the_chart(page: Page, server: ViewServer) -> None:
    page.goto(f"{server.url}?{urlencode(GAP)}")
    page.select_option("#interval", "4h")
    expect(page.locator("#status")).to_contain_text("12 bars")
    page.fill("#symbol", "ethusdt")
    page.press("#symbol", "Tab")
    expect(page.locator("#status")).to_contain_text("ETHUSDT 4h (spot)")


def test_a_month_of_the_cache_opens_its_days(page: Page, server: ViewServer) -> None:
    page.goto(f"{server.url}?{urlencode(GAP)}")
    cells = page.locator("#cache .month")
    expect(cells).to_have_count(2)
    expect(cells.nth(1)).to_have_attribute("title", "2023-04: 10 of 30 days, vision")
    cells.first.click()
    expect(page.locator("#days tr")).to_have_count(32)
    expect(page.locator("#days")).to_contain_text("gap (info)")


def test_an_error_is_one_sentence(page: Page, server: ViewServer) -> None:
    page.goto(f"{server.url}?{urlencode({**GAP, 'symbol': '<img src=x>'})}")
    expect(page.locator("#status .error")).to_contain_text("InvalidSymbolError: symbol '<IMG SRC=X>'", ignore_case=True)
    assert page.locator("#status img").count() == 0


def test_it_is_dark_where_the_system_is_and_can_be_switched(page: Page, server: ViewServer) -> None:
    def background() -> str:
        return str(page.evaluate("getComputedStyle(document.body).backgroundColor"))

    page.goto(f"{server.url}?{urlencode(GAP)}")
    light = background()
    page.emulate_media(color_scheme="dark")
    dark = background()
    assert dark != light
    page.click("#theme")
    assert background() == light


def test_a_narrow_screen_needs_no_scrolling_sideways(page: Page, server: ViewServer) -> None:
    page.set_viewport_size({"width": 400, "height": 800})
    page.goto(f"{server.url}?{urlencode(GAP)}")
    expect(page.locator("#chart")).to_have_attribute("data-bars", "47")
    assert page.evaluate("document.documentElement.scrollWidth") <= 400
