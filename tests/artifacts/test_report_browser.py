"""The report in a real browser: it opens without a complaint, its pictures are drawn, its table sorts by a click.

In headless Chromium, driven over a pipe (DevTools' protocol, a few JSON messages). Skipped where the machine has none:
``apt-get install chromium``.
"""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from models.records import RECORDS

from millwork.artifacts import report

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chromium-browser")
SWITCHES = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-dev-shm-usage",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--remote-debugging-pipe",
)  # fmt: skip

pytestmark = pytest.mark.skipif(not CHROMIUM, reason="no Chromium on this machine")


class Browser:
    """One page. Chromium reads commands from its descriptor 3 and writes replies and events to its descriptor 4."""

    def __init__(self, profile: Path) -> None:
        theirs_in, self.out = os.pipe()
        self.into, theirs_out = os.pipe()
        line = [str(CHROMIUM), *SWITCHES, f"--user-data-dir={profile}", "about:blank"]
        shell = f'exec "$@" 3<&{theirs_in} 4>&{theirs_out}'
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "stdin": subprocess.DEVNULL}
        self.process = subprocess.Popen(["bash", "-c", shell, "-", *line], pass_fds=(theirs_in, theirs_out), **quiet)  # type: ignore[call-overload]
        os.close(theirs_in)
        os.close(theirs_out)
        self.left, self.count, self.session, self.events = b"", 0, "", []
        page = self.send("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.send("Target.attachToTarget", targetId=page, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.send(f"{domain}.enable")

    def close(self) -> None:
        os.close(self.out)
        self.process.terminate()
        self.process.wait(30)
        os.close(self.into)

    def send(self, method: str, **given: object) -> Any:
        self.count += 1
        told = {"id": self.count, "method": method, "params": given}
        if self.session:
            told["sessionId"] = self.session
        os.write(self.out, json.dumps(told).encode() + b"\0")
        while (message := self._message()).get("id") != self.count:
            self.events.append(message)
        assert "error" not in message, message
        return message["result"]

    def _message(self) -> Any:
        while b"\0" not in self.left:
            piece = os.read(self.into, 1 << 20)
            assert piece, "Chromium is gone"
            self.left += piece
        first, _, self.left = self.left.partition(b"\0")
        return json.loads(first)

    def open(self, path: Path) -> None:
        self.look(width=1100)
        self.events.clear()
        self.send("Page.navigate", url=path.as_uri())
        while not any(event["method"] == "Page.loadEventFired" for event in self.events):
            self.events.append(self._message())

    def run(self, script: str) -> Any:
        reply = self.send("Runtime.evaluate", expression=f"(() => {{{script}}})()", returnByValue=True)
        assert "exceptionDetails" not in reply, reply
        return reply["result"].get("value")

    def look(self, *, width: int, scheme: str = "light", media: str = "screen") -> None:
        """As on such a screen, or on paper."""
        self.send(
            "Emulation.setEmulatedMedia", media=media, features=[{"name": "prefers-color-scheme", "value": scheme}]
        )
        self.send("Emulation.setDeviceMetricsOverride", width=width, height=1600, deviceScaleFactor=1, mobile=False)

    def picture(self) -> bytes:
        """All of the page, as PNG."""
        return base64.b64decode(self.send("Page.captureScreenshot", captureBeyondViewport=True)["data"])

    def complaints(self) -> list[str]:
        """What the console says: errors, and what the page's policy forbade."""
        self.run("return 0")  # whatever came before it has been read
        wanted = ("Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded")
        return [json.dumps(event["params"]) for event in self.events if event["method"] in wanted]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    found = Browser(tmp_path_factory.mktemp("profile"))
    yield found
    found.close()


@pytest.mark.parametrize("name", RECORDS)
def test_every_report_opens_without_a_complaint(name: str, browser: Browser, tmp_path: Path) -> None:
    page = report.write(RECORDS[name], tmp_path)
    browser.open(page)
    assert browser.complaints() == []
    requests = browser.run("return performance.getEntriesByType('resource').length")
    assert requests == 0
    wide = browser.run("return document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert wide <= 0, "the page itself scrolls sideways"


OPENED = "document.querySelectorAll('details').forEach(one => { one.open = true });"


def test_pictures_are_drawn_in_the_pages_own_colours(browser: Browser, tmp_path: Path) -> None:
    browser.open(report.write(RECORDS["net"], tmp_path))
    drawn = browser.run(
        OPENED
        + """
        return [...document.querySelectorAll("figure")].map(figure => {
            const svg = figure.querySelector("svg"), box = svg.getBoundingClientRect();
            const marks = [...svg.querySelectorAll("path")].filter(path => path.getBBox().width > 1);
            return [figure.querySelector("figcaption").textContent, box.width, box.height, marks.length,
                    [...svg.querySelectorAll("text")].map(text => text.textContent)];
        })"""
    )
    titles = [title for title, *_ in drawn]
    assert titles[:2] == ["Time and difference of each candidate", "How far answers are off"]
    assert titles[-1] == "How long calls take"
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


@pytest.mark.parametrize("name", RECORDS)
def test_on_paper_no_table_is_wider_than_the_page(name: str, browser: Browser, tmp_path: Path) -> None:
    browser.open(report.write(RECORDS[name], tmp_path))
    browser.look(width=PAPER, media="print")
    assert browser.run("return document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 0


@pytest.mark.parametrize("name", RECORDS)
@pytest.mark.parametrize("width", [420, 1400])
def test_no_word_of_a_picture_is_cut_or_too_small_to_read(
    width: int, name: str, browser: Browser, tmp_path: Path
) -> None:
    browser.open(report.write(RECORDS[name], tmp_path))
    browser.look(width=width)
    found = browser.run(
        OPENED
        + """
        const texts = [...document.querySelectorAll("svg text")].filter(text => text.textContent.trim());
        return [texts.map(text => {
            const box = text.getBoundingClientRect(), svg = text.ownerSVGElement.getBoundingClientRect();
            const size = parseFloat(getComputedStyle(text).fontSize) * text.ownerSVGElement.getScreenCTM().a;
            const out = Math.max(svg.left - box.left, box.right - svg.right, svg.top - box.top,
                                 box.bottom - svg.bottom);
            return [text.textContent.trim(), size, out];
        }), [...document.querySelectorAll("svg")].map(svg => svg.getBoundingClientRect().right - innerWidth),
        document.documentElement.scrollWidth - document.documentElement.clientWidth]"""
    )
    texts, pictures, wide = found
    for words, size, out in texts:
        assert size > 8, words
        assert out < 2, f"{words!r} is cut by {out} pixels"
    assert all(right <= 0 for right in pictures), "a picture reaches beyond the screen"
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
