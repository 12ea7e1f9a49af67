"""A person in a browser types a prompt on the local Telegram's page and sees the picture arrive."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from tests import browser as browsers
from tests.services import until
from tests.telegram_bot.service import Service
from tests.telegram_bot.stack import Stack, photo

pytestmark = browsers.NEEDED
PHONE = {"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": True}
LOADED = """
    return [...document.querySelectorAll('.theirs img')].filter((i) => i.naturalWidth > 200).length
"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    with browsers.opened(tmp_path_factory.mktemp("chromium")) as browser:
        yield browser


def texts(browser: webdriver.Chrome, css: str) -> list[str]:
    found: list[str] = browser.execute_script(
        "return [...document.querySelectorAll(arguments[0])].map((n) => n.innerText)", css
    )
    return found


def types(browser: webdriver.Chrome, text: str) -> None:
    browser.find_element(By.CSS_SELECTOR, "#text").send_keys(text, Keys.ENTER)


def clicks(browser: webdriver.Chrome, text: str) -> None:
    """Click the newest button with this text."""
    keys = browser.find_elements(By.CSS_SELECTOR, ".key")
    [*_, last] = [key for key in keys if text in key.text]
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", last)
    last.click()


def keep_screenshot(browser: webdriver.Chrome, name: str) -> None:
    """Save a screenshot if EASEL_SCREENSHOTS names a folder."""
    if folder := os.environ.get("EASEL_SCREENSHOTS"):
        browser.save_screenshot(str(Path(folder) / f"{name}.png"))


def test_a_person_types_a_prompt_and_sees_the_picture_arrive(
    browser: webdriver.Chrome, bot: Service, stack: Stack, tmp_path: Path
) -> None:
    browser.get(stack.url["local_telegram"])
    until(lambda: "connected" in browser.find_element(By.CSS_SELECTOR, "#status").text, "connected")
    before = browser.execute_script(LOADED)
    stack.slow_engine(0.7)
    try:
        types(browser, "/start")
        until(lambda: "🎨 Free generation" in texts(browser, ".key"), "the menu")
        keep_screenshot(browser, "desktop-start")
        types(browser, "a red fox in fresh snow, morning light --style realism --size 3:2")
        until(lambda: any("Drawing" in t for t in texts(browser, ".theirs")), "the bar")
        keep_screenshot(browser, "desktop-drawing")
    finally:
        stack.slow_engine(0)
    until(lambda: browser.execute_script(LOADED) > before, "the picture")
    until(lambda: "🔁 Again" in texts(browser, ".key"), "the buttons")
    keep_screenshot(browser, "desktop-result")
    clicks(browser, "⭐ Favourite")
    until(lambda: "⭐ In your favourites" in texts(browser, "#toast"), "the toast")


def test_on_a_phone_a_photo_is_restyled(
    browser: webdriver.Chrome, bot: Service, stack: Stack, tmp_path: Path
) -> None:
    (tmp_path / "hill.png").write_bytes(photo(480, 320, "PNG"))
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", PHONE)
    browser.get(stack.url["local_telegram"])
    until(lambda: texts(browser, "#text") is not None and texts(browser, ".messages"), "the chat")
    before = browser.execute_script(LOADED)
    browser.find_element(By.CSS_SELECTOR, "#picker").send_keys(str(tmp_path / "hill.png"))
    types(browser, "a quiet valley --style anime")
    until(lambda: any("Closely" in t for t in texts(browser, ".key")), "the strengths")
    keep_screenshot(browser, "phone-strength")
    clicks(browser, "Closely")
    until(lambda: browser.execute_script(LOADED) > before, "the picture")
    until(lambda: any("a quiet valley" in t for t in texts(browser, ".theirs")), "the caption")
    keep_screenshot(browser, "phone-result")
    width = browser.execute_script("return document.documentElement.scrollWidth")
    assert width == PHONE["width"]
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
