"""The chat page in a real browser, with the real python-telegram-bot behind it."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.wait import WebDriverWait

from tests import browser
from tests.telegram_bot.local.conftest import Local, picture
from tests.telegram_bot.local.echo_bot import running

pytestmark = browser.NEEDED


class Page:
    """The page as a person uses it; every wait has a timeout."""

    def __init__(self, driver: webdriver.Chrome) -> None:
        self.driver = driver

    def open(self, url: str) -> None:
        self.driver.get(url)
        self.wait(lambda: "connected" in self.one("#status").text)

    def one(self, css: str) -> WebElement:
        return self.driver.find_element(By.CSS_SELECTOR, css)

    def texts(self, css: str) -> list[str]:
        found: list[str] = self.driver.execute_script(
            "return [...document.querySelectorAll(arguments[0])].map((n) => n.innerText)", css
        )
        return found

    def type(self, text: str) -> None:
        self.one("#text").send_keys(text, Keys.ENTER)

    def click(self, css: str, text: str = "") -> None:
        found = self.driver.find_elements(By.CSS_SELECTOR, css)
        next(node for node in found if text in node.text).click()

    def wait(self, condition: Callable[[], object]) -> None:
        WebDriverWait(self.driver, 20, 0.05).until(lambda _: condition())

    def errors(self) -> list[Any]:
        return [entry for entry in self.driver.get_log("browser") if entry["level"] == "SEVERE"]  # type: ignore[no-untyped-call]


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    with browser.opened(tmp_path_factory.mktemp("chromium")) as driver:
        yield driver


@pytest.fixture
def page(driver: webdriver.Chrome) -> Iterator[Page]:
    yield Page(driver)
    driver.get("about:blank")


async def test_a_person_types_gets_an_answer_presses_a_button_and_sees_toast_and_edit(
    local: Local, page: Page
) -> None:
    def use() -> None:
        page.open(local.url)
        assert "Simulation, not Telegram." in page.one("#banner").text
        page.type("/start")
        page.wait(lambda: page.texts(".theirs .text") == ["Hello"])
        page.click(".key", "More")
        page.wait(lambda: page.one("#toast").text == "Working on it")
        page.wait(lambda: page.texts(".theirs .text") == ["Hello again"])
        assert page.texts(".edits") == ["edited"]
        assert page.texts(".key") == []
        assert page.errors() == []

    async with running(local):
        await asyncio.to_thread(use)


async def test_an_alert_waits_to_be_closed(local: Local, page: Page) -> None:
    def use() -> None:
        page.open(local.url)
        page.click("#begin")
        page.wait(lambda: page.texts(".key"))
        page.click(".key", "Stop")
        page.wait(lambda: page.one("#alert").is_displayed())
        assert page.one("#alertText").text == "Working on it"
        page.one("#alert button").send_keys(Keys.ENTER)
        page.wait(lambda: not page.one("#alert").is_displayed())

    async with running(local):
        await asyncio.to_thread(use)


async def test_a_picked_photo_is_sent_and_the_answer_becomes_a_picture(
    local: Local, page: Page, tmp_path: Path
) -> None:
    (tmp_path / "wall.png").write_bytes(picture(300, 200))

    loaded = "return [...document.querySelectorAll('.messages img')].map((i) => i.naturalWidth > 0)"

    def use() -> None:
        page.open(local.url)
        page.one("#picker").send_keys(str(tmp_path / "wall.png"))
        page.type("a wall")
        page.wait(lambda: page.texts(".theirs .text") == ["back: a wall"])
        page.wait(lambda: page.driver.execute_script(loaded) == [True, True])
        assert page.one(".theirs .photo img").get_attribute("alt") == "Photo: back: a wall"
        assert page.errors() == []

    async with running(local):
        await asyncio.to_thread(use)


async def test_pasted_and_dropped_files_wait_to_be_sent(local: Local, page: Page) -> None:
    hand_over = """
        const [type, css, name] = arguments;
        const files = new DataTransfer();
        files.items.add(new File(["hello"], name, {type: "text/plain"}));
        const target = document.querySelector(css);
        const event = type === "paste"
            ? new ClipboardEvent(type, {clipboardData: files, bubbles: true, cancelable: true})
            : new DragEvent(type, {dataTransfer: files, bubbles: true, cancelable: true});
        target.dispatchEvent(event);
    """

    def use() -> None:
        page.driver.get(local.url)
        page.wait(lambda: page.texts("#people button"))
        page.driver.execute_script(hand_over, "paste", "#text", "pasted.txt")
        page.driver.execute_script(hand_over, "drop", ".scroll", "dropped.txt")
        page.driver.execute_script(hand_over, "drop", ".scroll", "unwanted.txt")
        assert page.texts("#files .thumb") == ["pasted.txt", "dropped.txt", "unwanted.txt"]
        page.driver.find_elements(By.CSS_SELECTOR, "#files button")[2].click()
        page.type("two files")
        page.wait(lambda: page.texts(".mine .file strong") == ["pasted.txt", "dropped.txt"])

    await asyncio.to_thread(use)
    documents = [u["message"] for u in await local.updates()]
    assert [m["document"]["file_name"] for m in documents] == ["pasted.txt", "dropped.txt"]
    assert documents[0]["caption"] == "two files"


async def test_the_page_speaks_the_language_of_the_person(local: Local, page: Page) -> None:
    commands = [{"command": "start", "description": "Begin"}]
    await local.call("setMyCommands", commands=commands)
    commands[0]["description"] = "Начать"
    await local.call("setMyCommands", commands=commands, language_code="ru")

    def use() -> None:
        page.driver.get(local.url)
        page.wait(lambda: page.texts("#people button"))
        page.click("#people button", "Маша")
        page.wait(lambda: "имитация" in page.one("#banner").text)
        page.one("#text").send_keys("/")
        page.wait(lambda: page.texts("#commands span") == ["Начать"])
        page.one("#text").send_keys(Keys.ENTER)
        page.wait(lambda: page.texts(".mine .text") == ["/start"])

    await asyncio.to_thread(use)
    assert (await local.updates())[0]["message"]["from"]["language_code"] == "ru"


async def test_a_fault_is_ordered_on_the_page_and_seen_in_the_inspector(
    local: Local, page: Page
) -> None:
    await local.says(1001, "/start")

    def order() -> None:
        page.driver.get(local.url)
        page.wait(lambda: page.texts(".mine .text"))
        page.click("#inspect")
        page.click("#tabFaults")
        page.click("[data-fault='502']")
        page.wait(lambda: page.texts("#waitingList li") == ["502 · any call · 1×"])
        page.click("#tabCalls")

    def inspect() -> None:
        page.wait(lambda: page.texts("#calls mark") == ["502"])
        page.click("#calls summary", "sendMessage")
        page.wait(lambda: '"hidden <b>"' in page.one("#calls pre").text)

    await asyncio.to_thread(order)
    refused = await local.http.post(
        "/bot1:abc/sendMessage", json={"chat_id": 1001, "text": "hidden <b>"}
    )
    assert refused.status_code == 502
    await asyncio.to_thread(inspect)


async def test_the_bots_text_never_becomes_markup_of_the_page(local: Local, page: Page) -> None:
    await local.says(1001, "/start")
    evil = "<img src=x onerror=document.title='owned'>"
    keyboard = {"inline_keyboard": [[{"text": evil, "callback_data": "a"}]]}
    await local.call("sendMessage", chat_id=1001, text=evil, reply_markup=keyboard)

    def use() -> None:
        page.driver.get(local.url)
        page.wait(lambda: page.texts(".theirs .text") == [evil])
        assert page.texts(".key") == [evil]
        assert page.driver.title.startswith("Easel")

    await asyncio.to_thread(use)


async def test_buttons_of_a_short_message_are_wide_enough_for_their_words(
    local: Local, page: Page
) -> None:
    await local.says(1001, "/start")
    names = [["✅ Реализм", "ChatGPT"], ["1:1", "16:9", "9:16"]]
    keyboard = {"inline_keyboard": [[{"text": n, "callback_data": n} for n in r] for r in names]}
    await local.call("sendMessage", chat_id=1001, text="?", reply_markup=keyboard)
    size = {"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": True}

    def use() -> None:
        page.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        page.driver.get(local.url)
        page.wait(lambda: len(page.texts(".key")) == 5)
        heights = "return [...document.querySelectorAll('.key')].map((k) => k.offsetHeight)"
        assert max(page.driver.execute_script(heights)) < 45
        page.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})

    await asyncio.to_thread(use)


async def test_a_screen_reader_announces_the_sender_of_a_message(local: Local, page: Page) -> None:
    await local.says(1001, "/start")
    await local.call("sendMessage", chat_id=1001, text="Hello")

    def use() -> None:
        page.driver.get(local.url)
        page.wait(lambda: page.texts(".theirs .text") == ["Hello"])
        assert page.one(".mine .bubble .unseen").get_attribute("textContent") == "Alex"
        assert page.one(".theirs .bubble .unseen").get_attribute("textContent") == "Easel"

    await asyncio.to_thread(use)


async def test_the_page_fits_a_phone(local: Local, page: Page) -> None:
    await local.says(1001, "a long word: " + "wide" * 40)
    size = {"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": True}

    def use() -> None:
        page.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        page.driver.get(local.url)
        page.wait(lambda: page.texts(".mine .text"))
        width = "return document.documentElement.scrollWidth"
        assert page.driver.execute_script(width) == 390
        page.click("#back")
        page.wait(lambda: page.one("#chats").is_displayed())
        page.click("#chats button", "Easel group")
        page.wait(lambda: page.one("#title").text == "Easel group")
        page.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})

    await asyncio.to_thread(use)
