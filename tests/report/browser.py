"""Headless Chromium, driven over the pipe of its DevTools protocol: no package, no port."""

import json
import os
import select
import subprocess
import time

from running import HANG

PATIENCE = 300  # seconds until what the page should show will never be there
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--enable-unsafe-swiftshader",  # WebGL without a graphics card
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--remote-debugging-pipe",
]


class Browser:
    """A page in a browser. console: what it wrote. requests: the addresses it asked for."""

    def __init__(self, program, profile, *, width=1300, height=1000):
        to_read, self._write = os.pipe()
        self._read, to_write = os.pipe()
        command = f'exec "$@" 3<&{to_read} 4>&{to_write}'
        arguments = [program, *FLAGS, f"--window-size={width},{height}", f"--user-data-dir={profile}", "about:blank"]
        self._process = subprocess.Popen(
            ["bash", "-c", command, "bash", *arguments], pass_fds=(to_read, to_write), stderr=subprocess.DEVNULL
        )
        os.close(to_read)
        os.close(to_write)
        self._buffer, self._number, self._session = b"", 0, None
        self.console, self.requests = [], []
        (page, *_) = [t for t in self.send("Target.getTargets")["targetInfos"] if t["type"] == "page"]
        found = self.send("Target.attachToTarget", targetId=page["targetId"], flatten=True)
        self._session = found["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._process.terminate()
        self._process.wait(timeout=HANG)
        os.close(self._read)
        os.close(self._write)

    def send(self, method, **parameters):
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while (answer := self._next())["id"] != self._number:
            pass
        assert "error" not in answer, answer
        return answer["result"]

    def _next(self):
        """The next answer; events are noted on the way."""
        while True:
            while b"\0" not in self._buffer:
                ready, _, _ = select.select([self._read], [], [], HANG)
                assert ready, "chromium does not answer"
                self._buffer += os.read(self._read, 1 << 20)
            raw, self._buffer = self._buffer.split(b"\0", 1)
            message = json.loads(raw)
            if "id" in message:
                return message
            self._note(message["method"], message["params"])

    def _note(self, method, facts):
        if method == "Network.requestWillBeSent":
            self.requests.append(facts["request"]["url"])
        elif method == "Runtime.exceptionThrown":
            self.console.append(("exception", json.dumps(facts["exceptionDetails"])))
        elif method == "Runtime.consoleAPICalled":
            self.console.append((facts["type"], " ".join(str(a.get("value")) for a in facts["args"])))
        elif method == "Log.entryAdded":
            self.console.append((facts["entry"]["level"], facts["entry"]["text"]))

    def evaluate(self, expression):
        found = self.send("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def wait(self, expression):
        """Wait until an expression is true."""
        end = time.monotonic() + PATIENCE
        while not self.evaluate(expression):
            assert time.monotonic() < end, f"never true: {expression}"
            time.sleep(0.05)

    def open(self, path):
        self.send("Page.navigate", url=f"file://{path}")
        self.wait("document.readyState === 'complete'")

    def mouse(self, kind, x, y, *, button="none", held=0, clicks=0):
        self.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, button=button, buttons=held, clickCount=clicks)

    def click(self, x, y):
        self.mouse("mouseMoved", x, y)
        self.mouse("mousePressed", x, y, button="left", held=1, clicks=1)
        self.mouse("mouseReleased", x, y, button="left", clicks=1)

    def drag(self, start, end):
        self.mouse("mouseMoved", *start)
        self.mouse("mousePressed", *start, button="left", held=1, clicks=1)
        for part in (0.25, 0.5, 0.75, 1):
            between = [a + part * (b - a) for a, b in zip(start, end, strict=True)]
            self.mouse("mouseMoved", *between, button="left", held=1)
        self.mouse("mouseReleased", *end, button="left", clicks=1)
