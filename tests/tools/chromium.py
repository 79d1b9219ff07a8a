"""A headless Chromium for tests, driven over a pipe by its DevTools protocol: no driver, no package, no port.

The protocol: https://chromedevtools.github.io/devtools-protocol/. Chromium is Debian's or another one in PATH; where
there is none, `find()` says None. Nothing is downloaded.
"""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
_TIMEOUT_S = 120.0


def find() -> str | None:
    """Where a Chromium lies, or None."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


def violations(page: Page, tools: Path) -> list[str]:
    """What axe-core, below `tools`, finds against WCAG 2.2 A and AA and its own best practices."""
    page.run((tools / "axe_playwright_python" / "axe.min.js").read_text() + "; 1")
    found = page.run("axe.run(document, {resultTypes: ['violations']}).then(r => r.violations)")
    return [f"{one['id']}: {node['html'][:160]}" for one in found for node in one["nodes"]]


class ProtocolError(Exception):
    """The browser refused a command, died, or did not answer in time."""


class Chromium:
    """One browser process and its pages; a context manager."""

    def __init__(self, path: str) -> None:
        self._home = tempfile.TemporaryDirectory(prefix="harness-chromium-", ignore_cleanup_errors=True)
        to_read, write = os.pipe()
        read, to_write = os.pipe()
        self._read, self._write = read, write
        # Chromium reads commands from descriptor 3 and writes answers to descriptor 4, each ended by a zero byte.
        shell = f'exec "$@" 3<&{to_read} 4>&{to_write}'
        arguments = [
            path,
            "--headless",
            "--no-sandbox",
            "--remote-debugging-pipe",
            f"--user-data-dir={self._home.name}",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--hide-scrollbars",
            "--no-first-run",
            "--disable-extensions",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "about:blank",
        ]
        self._process = subprocess.Popen(
            ["bash", "-c", shell, "chromium", *arguments],
            pass_fds=(to_read, to_write),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "HOME": self._home.name},
        )
        os.close(to_read)
        os.close(to_write)
        self._buffer = b""
        self._number = 0
        self._page: Page | None = None
        self.events: list[dict[str, Any]] = []

    def __enter__(self) -> Chromium:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None):
        try:
            if kind is None:
                self.call("Browser.close")
                self._process.wait(20)
        except (ProtocolError, subprocess.TimeoutExpired):
            pass
        finally:
            if self._process.poll() is None:
                self._process.kill()
                self._process.wait()
            os.close(self._read)
            os.close(self._write)
            self._home.cleanup()

    def call(self, method: str, session: str | None = None, **parameters: Any) -> dict[str, Any]:
        """One command and its answer; events that come meanwhile are kept in `events`."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        os.write(self._write, json.dumps(message | ({"sessionId": session} if session else {})).encode() + b"\0")
        ends = time.monotonic() + _TIMEOUT_S
        while True:
            found = self._receive(ends)
            if found.get("id") == self._number:
                if "error" in found:
                    raise ProtocolError(f"{method}: {found['error'].get('message')}")
                return found.get("result", {})
            self.events.append(found)

    def wait_for(self, method: str, session: str) -> dict[str, Any]:
        """The next event of a kind, one that was already seen included."""
        ends = time.monotonic() + _TIMEOUT_S
        while True:
            for event in self.events:
                if event.get("method") == method and event.get("sessionId") == session:
                    return event
            self.events.append(self._receive(ends))

    def page(self, width: int, *, is_dark: bool = False, height: int = 900, scale: float = 1) -> Page:
        """An empty page as wide as so many CSS pixels; the one before it is closed."""
        if self._page is not None:
            self.call("Target.closeTarget", targetId=self._page.target)
        self._page = Page(self, width, height, is_dark, scale)
        return self._page

    def _receive(self, ends: float) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._read], [], [], max(0.0, ends - time.monotonic()))
            data = os.read(self._read, 1 << 20) if ready else b""
            if not data:
                raise ProtocolError("the browser did not answer" if not ready else "the browser died")
            self._buffer += data
        raw, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(raw)


class Page:
    """One tab: what it loads, says and measures."""

    def __init__(self, browser: Chromium, width: int, height: int, is_dark: bool, scale: float) -> None:
        self._browser = browser
        self.target = browser.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = browser.call("Target.attachToTarget", targetId=self.target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        size = {"width": width, "height": height, "deviceScaleFactor": scale, "mobile": width < 700}
        self.call("Emulation.setDeviceMetricsOverride", **size)
        feature = {"name": "prefers-color-scheme", "value": "dark" if is_dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[feature])

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """A command to this page."""
        return self._browser.call(method, self.session, **parameters)

    def open(self, path: Path) -> None:
        """Load a file and wait until it is there."""
        self._browser.events.clear()
        self.call("Page.navigate", url=path.resolve().as_uri())
        self._browser.wait_for("Page.loadEventFired", self.session)

    def run(self, script: str) -> Any:
        """The value of an expression in the page, as JSON; a promise is waited for."""
        found = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in found:
            raise ProtocolError(json.dumps(found["exceptionDetails"])[:2000])
        return found["result"].get("value")

    def requests(self) -> list[str]:
        """Every address that was asked for since `open`."""
        return [event["params"]["request"]["url"] for event in self._events("Network.requestWillBeSent")]

    def complaints(self) -> list[str]:
        """Every message on the console, every exception and every warning of the browser since `open`."""
        found = [str(event["params"]["args"]) for event in self._events("Runtime.consoleAPICalled")]
        found += [str(event["params"]["exceptionDetails"]) for event in self._events("Runtime.exceptionThrown")]
        return found + [str(event["params"]["entry"]["text"]) for event in self._events("Log.entryAdded")]

    def picture(self, path: Path, *, is_whole: bool = True, height: int | None = None) -> None:
        """A PNG of the whole page, or of its first `height` pixels."""
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        shown = size["height"] if is_whole and height is None else min(height or 900, size["height"])
        clip = {"x": 0, "y": 0, "width": size["width"], "height": shown, "scale": 1}
        data = self.call("Page.captureScreenshot", format="png", clip=clip, captureBeyondViewport=True)["data"]
        path.write_bytes(base64.b64decode(data))

    def print(self, path: Path) -> None:
        """The page as a PDF, printed as its own style sheet says."""
        options = {"preferCSSPageSize": True, "printBackground": True}
        path.write_bytes(base64.b64decode(self.call("Page.printToPDF", **options)["data"]))

    def _events(self, method: str) -> list[dict[str, Any]]:
        self.run("1")  # whatever the page still has to say comes before this answer
        events = self._browser.events
        return [event for event in events if event.get("method") == method and event.get("sessionId") == self.session]
