"""Chromium without a window, spoken to through a pipe: the DevTools protocol, with the standard library alone."""

import base64
import json
import os
import select
import shutil
import subprocess
import tempfile
import time

import pytest

SECONDS = 60
"""For any answer, on a machine that is busy."""


def needs_browser():
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
    if found is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    return found


GPU = [
    "--enable-unsafe-webgpu",
    "--use-webgpu-adapter=swiftshader",
    "--enable-features=Vulkan,WebGPU",
]
"""WebGPU computed by the processor: slow, but the same path."""


class Browser:
    """A browser with one page."""

    def __init__(self, gpu=False):
        chromium = needs_browser()
        self.folder = tempfile.TemporaryDirectory(prefix="funcnet-web-", ignore_cleanup_errors=True)
        to_read, self.write_end = os.pipe()
        self.read_end, to_write = os.pipe()
        flags = (
            "--headless --no-sandbox --no-first-run --remote-debugging-pipe --disable-extensions"
        )
        more = "--disable-background-networking --disable-component-update --disable-dev-shm-usage --hide-scrollbars"
        command = f'exec "$0" "$@" 3<&{to_read} 4>&{to_write}'
        arguments = [
            chromium,
            *flags.split(),
            *more.split(),
            *(GPU if gpu else ["--disable-gpu"]),
            f"--user-data-dir={self.folder.name}",
        ]
        self.process = subprocess.Popen(
            ["/bin/bash", "-c", command, *arguments, "about:blank"],
            pass_fds=(to_read, to_write),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(to_read)
        os.close(to_write)
        self.number, self.buffer, self.session, self.events = 0, b"", None, []
        (page,) = [
            each for each in self.send("Target.getTargets")["targetInfos"] if each["type"] == "page"
        ]
        attached = self.send("Target.attachToTarget", targetId=page["targetId"], flatten=True)
        self.session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.send(f"{domain}.enable")

    def send(self, method, **params):
        self.number += 1
        message = {"id": self.number, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.write_end, json.dumps(message).encode() + b"\0")
        until = time.monotonic() + SECONDS
        while True:
            answer = self.receive(until)
            if answer.get("id") == self.number:
                assert "error" not in answer, answer
                return answer["result"]
            self.events.append(answer)

    def receive(self, until):
        while b"\0" not in self.buffer:
            ready, _, _ = select.select([self.read_end], [], [], max(0, until - time.monotonic()))
            assert ready, "the browser does not answer"
            chunk = os.read(self.read_end, 1 << 20)
            assert chunk, "the browser has ended"
            self.buffer += chunk
        message, _, self.buffer = self.buffer.partition(b"\0")
        return json.loads(message)

    def evaluate(self, expression):
        """Evaluate JavaScript, wait if it is a promise, and return its value."""
        found = self.send(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def wait_for(self, expression):
        until = time.monotonic() + SECONDS
        while not (found := self.evaluate(expression)):
            assert time.monotonic() < until, f"{expression} did not come true"
            time.sleep(0.05)
        return found

    def go(self, url, width=1100, height=820, dark=False, scale=1, mobile=False):
        """Open a page, in the given size and colours, and wait until it is loaded."""
        self.events.clear()
        self.look(width, height, dark, scale, mobile)
        self.send("Page.navigate", url=str(url))
        self.wait_for("document.readyState === 'complete'")

    def open(self, url, width=1100, height=820, dark=False, scale=1, mobile=False):
        """Open a page that says of itself when it is ready."""
        self.go(url, width, height, dark, scale, mobile)
        state = "document.body && document.body.dataset.state"
        self.wait_for(f"['ready', 'failed'].includes({state})")
        assert self.evaluate(state) == "ready", self.evaluate("document.body.innerText")

    def look(self, width, height, dark=False, scale=1, mobile=False):
        self.send(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=scale,
            mobile=mobile,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.send("Emulation.setEmulatedMedia", features=[scheme])

    def drag(self, points):
        """Draw a line with the mouse."""
        for i, (x, y) in enumerate(points):
            kind = "mousePressed" if i == 0 else "mouseMoved"
            self.send(
                "Input.dispatchMouseEvent",
                type=kind,
                x=x,
                y=y,
                button="left",
                buttons=1,
                clickCount=1,
            )
        x, y = points[-1]
        self.send("Input.dispatchMouseEvent", type="mouseReleased", x=x, y=y, button="left")

    def screenshot(self, path, whole=True):
        found = self.send("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(found["data"]))

    def requested(self):
        """The addresses that the page asked for."""
        return [
            each["params"]["request"]["url"]
            for each in self.events
            if each.get("method") == "Network.requestWillBeSent"
        ]

    def complaints(self):
        """Errors of the page and of the console."""
        wrong = [e["params"] for e in self.events if e.get("method") == "Runtime.exceptionThrown"]
        wrong += [
            e["params"]
            for e in self.events
            if e.get("method") == "Runtime.consoleAPICalled" and e["params"]["type"] == "error"
        ]
        return wrong + [
            e["params"]["entry"]
            for e in self.events
            if e.get("method") == "Log.entryAdded" and e["params"]["entry"]["level"] == "error"
        ]

    def close(self):
        for end in (self.read_end, self.write_end):
            os.close(end)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.folder.cleanup()
