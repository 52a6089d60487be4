"""A headless Chromium of a test's own, driven by the DevTools protocol; it ends with the test."""

import asyncio
import base64
import contextlib
import os
import shutil
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

OPTIONS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--remote-debugging-address=127.0.0.1",
    "--remote-debugging-port=0",
    "--remote-allow-origins=*",
]
WITHIN_S = 180.0


class Page:
    """A tab; ``requests`` holds what it asked of a network, ``complaints`` what it complained of."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._asked = 0
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self._loaded = asyncio.Event()
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self._reader = asyncio.create_task(self._read())

    async def _read(self) -> None:
        async for message in self._socket:
            answer = message.json()
            if "id" in answer:
                self._answers.pop(answer["id"]).set_result(answer)
            else:
                self._happened(answer["method"], answer["params"])

    def _happened(self, method: str, said: dict[str, Any]) -> None:
        match method:
            case "Page.loadEventFired":
                self._loaded.set()
            case "Network.requestWillBeSent":
                self.requests.append(said["request"]["url"])
            case "Log.entryAdded":
                self.complaints.append(said["entry"]["text"])
            case "Runtime.consoleAPICalled" | "Runtime.exceptionThrown" | "Page.javascriptDialogOpening":
                self.complaints.append(f"{method}: {said}")

    async def call(self, method: str, **parameters: Any) -> Any:
        """Return what the browser answers to a command of the protocol."""
        self._asked += 1
        answer = self._answers[self._asked] = asyncio.get_running_loop().create_future()
        await self._socket.send_json({"id": self._asked, "method": method, "params": parameters})
        async with asyncio.timeout(WITHIN_S):
            reply = await answer
        assert "error" not in reply, f"{method}: {reply['error']}"
        return reply["result"]

    async def show(self, address: str, *, width: int, height: int = 900, dark: bool = False) -> None:
        """Load a page as a screen of that width, or as a telephone, would show it."""
        for domain in ("Page", "Network", "Log", "Runtime"):
            await self.call(f"{domain}.enable")
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        await self.call("Emulation.setEmulatedMedia", features=[scheme])
        await self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        self._loaded.clear()
        await self.call("Page.navigate", url=address)
        async with asyncio.timeout(WITHIN_S):
            await self._loaded.wait()

    async def value(self, expression: str) -> Any:
        """Return what a line of JavaScript gives; it runs outside the page, which itself may run none."""
        reply = await self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in reply, reply
        return reply["result"].get("value")

    async def picture(self, *, whole: bool = True) -> bytes:
        """Return the page as PNG."""
        reply = await self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        return base64.b64decode(reply["data"])

    async def printed(self) -> bytes:
        """Return the page as PDF, on the paper that it asks for."""
        reply = await self.call("Page.printToPDF", preferCSSPageSize=True, printBackground=False)
        return base64.b64decode(reply["data"])

    async def close(self) -> None:
        """End the connection."""
        self._reader.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._reader
        await self._socket.close()


@asynccontextmanager
async def browser(folder: Path) -> AsyncIterator[Page]:
    """Give a page of a browser that was started for it, with a profile in an empty folder."""
    program = shutil.which("chromium")
    assert program, "expected Chromium on the path, found none: apt-get install chromium"
    process = await asyncio.create_subprocess_exec(
        program,
        *OPTIONS,
        f"--user-data-dir={folder}",
        "about:blank",
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        async with aiohttp.ClientSession() as session:
            port = await _port(folder / "DevToolsActivePort", process)
            async with session.get(f"http://127.0.0.1:{port}/json/list") as answer:
                tabs = await answer.json(content_type=None)
            (address,) = (tab["webSocketDebuggerUrl"] for tab in tabs if tab["type"] == "page")
            page = Page(await session.ws_connect(address, max_msg_size=0))
            try:
                yield page
            finally:
                await page.close()
    finally:
        # Its children are in the session that was made for it, and nothing else is.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


async def _port(file: Path, process: asyncio.subprocess.Process) -> str:
    async with asyncio.timeout(WITHIN_S):
        while not (file.exists() and (lines := file.read_text().splitlines())):
            assert process.returncode is None, f"Chromium ended with exit code {process.returncode}"
            await asyncio.sleep(0.05)
    return lines[0]
