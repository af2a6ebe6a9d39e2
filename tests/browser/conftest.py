"""A real server on a free port and a real Chromium."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from tests.training.conftest import squares

ROOT = Path(__file__).resolve().parent.parent.parent
DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
START_SECONDS = 120


class Server:
    """The page as a person starts it (``python app.py``), on a home folder of its own."""

    def __init__(self, home: Path):
        self.home = home
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = home.parent / f"server-{self.port}.log"
        self.process: subprocess.Popen | None = None

    def start(self) -> None:
        """Start and wait until the page answers."""
        home = self.home.parent / "user"
        home.mkdir(exist_ok=True)
        environment = {
            **os.environ,
            "GRADIO_SERVER_PORT": str(self.port),
            "VIT_DEMO_HOME": str(self.home),
            "HF_HUB_OFFLINE": "1",
            # An empty home folder and no cache: what a fresh machine has.
            "HOME": str(home),
            "HF_HOME": str(home / "hf"),
            "GRADIO_TEMP_DIR": str(home / "gradio"),
        }
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "app.py"], cwd=ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT
            )
        until = time.monotonic() + START_SECONDS
        while time.monotonic() < until:
            try:
                urllib.request.urlopen(self.url, timeout=5).read()
                return
            except OSError:
                assert self.process.poll() is None, self.log.read_text()
                time.sleep(0.3)
        raise AssertionError(f"the page did not come up:\n{self.log.read_text()}")

    def kill(self) -> None:
        """End it as a power cut would; a worker that it started lives on."""
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    running = Server(tmp_path_factory.mktemp("site") / "home")
    running.start()
    yield running
    running.kill()
    # Of our own code alone: the web server prints one of its own when a picture is replaced while it is being
    # sent.
    assert f"{ROOT / 'vit_demo'}{os.sep}" not in running.log.read_text(), running.log.read_text()


@pytest.fixture(scope="session")
def browser():
    sync_api = pytest.importorskip(
        "playwright.sync_api", reason="needs playwright, see requirements-test.txt"
    )
    names = ("chromium", "chromium-browser", "google-chrome")
    path = next((found for found in map(shutil.which, names) if found), None)
    if path is None:
        if os.environ.get("VIT_DEMO_REQUIRE_BROWSER"):
            pytest.fail("Chromium is missing, and here the browser tests may not skip")
        pytest.skip("needs Chromium on the PATH")
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=path,
            args=[
                "--no-sandbox",
                "--disable-gpu",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
            ],
        )
        yield chromium
        chromium.close()


class Window:
    """A page that each test opens as one who comes for the first time: what the site keeps in
    the browser is forgotten in between. The browser then has the page's scripts compiled already, which is
    half of what opening it costs.
    """

    def __init__(self, browser, server: Server, size: dict):
        self._browser, self._server, self._size = browser, server, size
        self._page = None

    def open(self):
        """The page, ready."""
        page, self._page = self._page or self._make(), None
        page.broken = []
        page.set_viewport_size(self._size)
        page.goto(self._server.url)
        settle(page)
        return page

    def leave(self, page) -> None:
        """After a test; a page that broke is not used again."""
        broken = page.broken
        if broken:
            page.context.close()
        assert broken == []
        page.evaluate("() => { localStorage.clear(); sessionStorage.clear(); }")
        page.context.clear_cookies()
        page.goto("about:blank")  # where it asks the server for nothing
        self._page = page

    def _make(self):
        page = self._browser.new_context(viewport=self._size).new_page()
        page.set_default_timeout(60_000)
        page.home = self._server.home
        page.on("pageerror", lambda error: page.broken.append(str(error)))
        page.on("request", lambda request: self._note(page, request.url))
        return page

    def _note(self, page, url: str) -> None:
        if not url.startswith((self._server.url, "data:", "blob:", "about:")):
            page.broken.append(f"foreign request: {url}")


def settle(page) -> None:
    """Wait until the page reacts: a click on one that is still loading is lost."""
    # Not visible: a page that is opened with a run's link turns to another tab, perhaps before this looks.
    page.wait_for_selector("#diagnose-photo", state="attached")
    page.get_by_role("tab", name="Diagnose").wait_for()
    page.get_by_text("Loading...").first.wait_for(state="hidden")


class Sent:
    """What a page sends from now on. events: the numbers of those that its timers did not cause. ticks: those
    that they did.
    """

    def __init__(self, page):
        self.events: list[int] = []
        self.ticks: list[int] = []
        self._timers = page.evaluate(
            """() => gradio_config.dependencies
                .filter(({targets}) => targets.some(([, event]) => event === 'tick')).map(({id}) => id)"""
        )
        page.on("request", self._keep)

    def _keep(self, request) -> None:
        if "/queue/join" in request.url:
            number = request.post_data_json["fn_index"]
            (self.ticks if number in self._timers else self.events).append(number)


def wait_for_rest(page, seconds: int = 5, at_most: int = 90) -> Sent:
    """Wait until a page that nobody touches has sent nothing but ticks for some seconds: what leads back to
    itself never stops. Returns what it sends, the ticks of this time included.
    """
    sent, until = Sent(page), time.monotonic() + at_most
    while True:
        sent.events.clear()
        sent.ticks.clear()
        page.wait_for_timeout(seconds * 1000)
        if not sent.events:
            return sent
        assert time.monotonic() < until, f"still sent after {at_most} s: {sorted(set(sent.events))}"


@pytest.fixture(scope="session")
def desktop_window(browser, server) -> Window:
    return Window(browser, server, DESKTOP)


@pytest.fixture(scope="session")
def phone_window(browser, server) -> Window:
    return Window(browser, server, PHONE)


@pytest.fixture
def page(desktop_window):
    """The page on a desktop; after the test, no script error and no request to another host may have
    happened.
    """
    opened = desktop_window.open()
    yield opened
    desktop_window.leave(opened)


@pytest.fixture
def phone(phone_window):
    """The same at phone width."""
    opened = phone_window.open()
    yield opened
    phone_window.leave(opened)


@dataclass(frozen=True)
class Little:
    """36 photos and a model with which a step takes a few thousandths of a second."""

    data: str
    model: str

    def fill_in(self, page, epochs: int) -> None:
        """Choose them in the form, with a step for each photo."""
        for field, value in (("train-data", self.data), ("train-model", self.model)):
            page.locator(f"#{field} input").fill(value)
            page.locator(f"#{field} input").press("Enter")
        page.locator("#train-epochs input").fill(str(epochs))
        page.locator("#train-batch input").fill("1")


@pytest.fixture(scope="session")
def little(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Little:
    return Little(str(squares(tmp_path_factory.mktemp("little"))), str(tiny_model))


@pytest.fixture(scope="session")
def real_photos(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One real test photo of each class as a JPEG file, by class name."""
    from vit_demo.data.open.sources import open_dataset

    test = open_dataset("beans")["test"]
    names = test.features["labels"].names
    folder = tmp_path_factory.mktemp("photos")
    files = {}
    for label, name in enumerate(names):
        files[name] = folder / f"{name}.jpg"
        test[test["labels"].index(label)]["image"].save(files[name], quality=92)
    return files


@pytest.fixture(scope="session")
def few_leaves(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder with a part of the photos that come with the program, as many of each class: 240 of train, 48
    of validation, 48 of test.
    """
    from vit_demo.data.open.sources import open_dataset

    folder = tmp_path_factory.mktemp("few leaves")
    for split, each in (("train", 80), ("validation", 16), ("test", 16)):
        part = open_dataset("beans")[split]
        labels = np.asarray(part["labels"])
        rows = np.concatenate([np.flatnonzero(labels == label)[:each] for label in range(3)])
        part.select(rows).to_parquet(folder / f"{split}-00000-of-00001.parquet")
    return str(folder)


@pytest.fixture(scope="session")
def leaf_photo(real_photos: dict[str, Path]) -> Path:
    """A photo of a leaf, where any will do."""
    return real_photos["angular_leaf_spot"]
