"""Takes the picture of `ckvd view` that README.md shows, on the sandbox (`make pictures`). Needs Chromium."""

from __future__ import annotations

import shutil
import tempfile
import threading
from pathlib import Path
from typing import Any

from playwright.sync_api import sync_playwright

from ckvd_sql import CryptoKlineVisionData, Settings
from ckvd_sql.charts.server import ViewServer
from ckvd_sql.sandbox import Sandbox
from ckvd_sql.scan.resolver import Resolver

PICTURE = Path(__file__).parents[2] / "docs" / "view.png"


def take(path: Path) -> None:
    """Write the picture."""
    with Sandbox(now="2024-06-15T12:30:00") as exchange, tempfile.TemporaryDirectory() as folder:
        settings: dict[str, Any] = {**exchange.settings, "cache_dir": folder}
        client = CryptoKlineVisionData(**settings)
        client.fetch(["BTCUSDT", "ETHUSDT", "SOLUSDT"], "2022-11-10", "2024-06-01", "1h")
        client.fetch("BTCUSDT", "2022-01-01", "2023-04-12", "1d", "um")
        with ViewServer(Resolver(Settings.load(**settings))) as server, sync_playwright() as playwright:
            thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
            thread.start()
            browser = playwright.chromium.launch(
                executable_path=shutil.which("chromium") or shutil.which("google-chrome"), args=["--no-sandbox"]
            )
            page = browser.new_page(viewport={"width": 1100, "height": 800}, color_scheme="light")
            page.goto(f"{server.url}?symbol=BTCUSDT&market=spot&interval=1h&start=2023-03-20&end=2023-03-29")
            page.wait_for_selector("#cache .month")
            page.wait_for_timeout(500)  # the chart is drawn in the next frames
            page.screenshot(path=path)
            browser.close()
            server.shutdown()
            thread.join()


if __name__ == "__main__":
    take(PICTURE)
