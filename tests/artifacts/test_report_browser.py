"""The report in a real browser: it opens without a complaint, its pictures are drawn, its table sorts by a click.

In headless Chromium, driven by its own ChromeDriver (WebDriver's protocol, a few JSON requests). Skipped where the
machine has neither: ``apt-get install chromium chromium-driver``.
"""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from models.records import RECORDS

from millwork.artifacts import report

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chromium-browser")
DRIVER = shutil.which("chromedriver")
SWITCHES = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-dev-shm-usage",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--window-size=1100,1600",
)  # fmt: skip

pytestmark = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="no Chromium and ChromeDriver on this machine")


class Browser:
    """One session of WebDriver."""

    def __init__(self, port: int) -> None:
        self.root = f"http://127.0.0.1:{port}"
        options = {"binary": CHROMIUM, "args": list(SWITCHES)}
        wanted = {"browserName": "chrome", "goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
        self.session = ""
        self.session = (
            f"/session/{self.send('POST', '/session', {'capabilities': {'alwaysMatch': wanted}})['sessionId']}"
        )

    def send(self, method: str, path: str, body: object = None) -> Any:
        content = None if method == "GET" else json.dumps(body or {}).encode()
        request = urllib.request.Request(f"{self.root}{self.session}{path}", content, method=method)  # noqa: S310
        with urllib.request.urlopen(request, timeout=60) as reply:  # noqa: S310 (127.0.0.1)
            return json.load(reply)["value"]

    def open(self, path: Path) -> None:
        self.look(width=1100)
        self.send("POST", "/url", {"url": path.as_uri()})

    def run(self, script: str) -> Any:
        return self.send("POST", "/execute/sync", {"script": script, "args": []})

    def look(self, *, width: int, scheme: str = "light", media: str = "screen") -> None:
        """As on such a screen, or on paper."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        for command, given in (
            ("Emulation.setEmulatedMedia", {"media": media, "features": features}),
            (
                "Emulation.setDeviceMetricsOverride",
                {"width": width, "height": 1600, "deviceScaleFactor": 1, "mobile": False},
            ),
        ):
            self.send("POST", "/goog/cdp/execute", {"cmd": command, "params": given})

    def complaints(self) -> list[str]:
        return [entry["message"] for entry in self.send("POST", "/se/log", {"type": "browser"})]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with subprocess.Popen(
        [str(DRIVER), f"--port={port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as driver:
        try:
            deadline = time.monotonic() + 60
            while True:
                try:
                    found = Browser(port)
                    break
                except OSError:
                    if time.monotonic() > deadline:
                        raise
                    time.sleep(0.2)
            yield found
            found.send("DELETE", "")
        finally:
            driver.terminate()


@pytest.mark.parametrize("name", RECORDS)
def test_every_report_opens_without_a_complaint(name: str, browser: Browser, tmp_path: Path) -> None:
    page = report.write(RECORDS[name], tmp_path)
    browser.open(page)
    assert browser.complaints() == []
    requests = browser.run("return performance.getEntriesByType('resource').length")
    assert requests == 0
    wide = browser.run("return document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert wide <= 0, "the page itself scrolls sideways"


def test_pictures_are_drawn_in_the_pages_own_colours(browser: Browser, tmp_path: Path) -> None:
    browser.open(report.write(RECORDS["net"], tmp_path))
    drawn = browser.run("""
        return [...document.querySelectorAll("figure")].map(figure => {
            const svg = figure.querySelector("svg"), box = svg.getBoundingClientRect();
            const marks = [...svg.querySelectorAll("path")].filter(path => path.getBBox().width > 1);
            return [figure.querySelector("figcaption").textContent, box.width, box.height, marks.length,
                    [...svg.querySelectorAll("text")].map(text => text.textContent)];
        })""")
    titles = [title for title, *_ in drawn]
    assert titles[:3] == ["Time and difference of each candidate", "How far answers are off", "How long calls take"]
    assert any(re.match(r"What each layer of onnx-int8 costs", title) for title in titles)
    for title, width, height, marks, texts in drawn:
        assert width > 300, title
        assert height > 80, title
        assert marks > 2, title
        assert not [text for text in texts if "mathdefault" in text or "$" in text], title
    colours = browser.run("""
        const path = document.querySelector("figure svg path[style*='--series-']");
        return [getComputedStyle(path).fill, getComputedStyle(path).stroke]""")
    assert any(colour.startswith("rgb") for colour in colours), colours


def test_a_click_on_a_head_sorts_the_table(browser: Browser, tmp_path: Path) -> None:
    browser.open(report.write(RECORDS["net"], tmp_path))
    look = """
        const table = document.querySelector("table.sortable"), column = [...table.tHead.rows[0].cells]
            .findIndex(head => head.textContent === "p50, batch 1");
        if (CLICK) table.tHead.rows[0].cells[column].querySelector("button").click();
        return [...table.tBodies[0].rows].map(row => Number(row.cells[column].dataset.sort))"""
    before = browser.run(look.replace("CLICK", "false"))
    up = browser.run(look.replace("CLICK", "true"))
    down = browser.run(look.replace("CLICK", "true"))
    assert before not in (up, down)
    assert up == sorted(before)
    assert down == sorted(before, reverse=True)


PAPER = 718
"""CSS pixels: A4 less the margins of a centimetre that a browser prints with."""


@pytest.mark.parametrize(("width", "media"), [(1100, "screen"), (PAPER, "print")])
def test_every_metric_is_on_the_page_and_on_paper_without_scrolling(
    width: int, media: str, browser: Browser, tmp_path: Path
) -> None:
    browser.open(report.write(RECORDS["net"], tmp_path))
    browser.look(width=width, media=media)
    heads, right, edge = browser.run("""
        const table = document.querySelector("table.sortable"), heads = [...table.tHead.rows[0].cells];
        return [heads.map(head => head.textContent), heads.at(-1).getBoundingClientRect().right,
                table.parentElement.getBoundingClientRect().right]""")
    assert heads[-3:] == ["logloss", "auc", "ece"]
    assert right <= edge + 1


def test_on_a_narrow_screen_pictures_scroll_and_stay_readable(browser: Browser, tmp_path: Path) -> None:
    browser.open(report.write(RECORDS["net"], tmp_path))
    browser.look(width=380)
    smallest, wide = browser.run("""
        const texts = [...document.querySelectorAll("figure svg text")].filter(text => text.textContent.trim());
        return [Math.min(...texts.map(text => Math.min(text.getBoundingClientRect().width, 1e9) && parseFloat(
                    getComputedStyle(text).fontSize) * text.ownerSVGElement.getScreenCTM().a)),
                document.documentElement.scrollWidth - document.documentElement.clientWidth]""")
    assert smallest > 8
    assert wide <= 0, "the page itself scrolls sideways"


def test_pictures_take_the_colours_of_dark_and_of_paper(browser: Browser, tmp_path: Path) -> None:
    browser.open(report.write(RECORDS["net"], tmp_path))
    inks = []
    for scheme, media in (("light", "screen"), ("dark", "screen"), ("dark", "print")):
        browser.look(width=1100, scheme=scheme, media=media)
        inks.append(
            browser.run("""
            const text = document.querySelector("figure svg text[style*='--ink'], figure svg [style*='--ink'] text");
            return [getComputedStyle(text).fill, getComputedStyle(document.body).backgroundColor]""")
        )
    assert inks == [
        ["rgb(27, 31, 36)", "rgb(255, 255, 255)"],
        ["rgb(230, 233, 237)", "rgb(20, 23, 27)"],
        ["rgb(0, 0, 0)", "rgb(255, 255, 255)"],
    ]
