"""The package binance-bulk-downloader, which unpacks zips into a folder. Configuration: `url`, `period`.

It is given the list of files, because the sandbox has no bucket to list. It verifies no checksum and sets its own
number of threads.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.workers.loop import serve

if TYPE_CHECKING:
    from collections.abc import Callable


def make(config: dict[str, Any]) -> Callable[[dict[str, Any]], Any]:
    """A function that downloads zips and returns the number of bytes that they unpack to."""
    from binance_bulk_downloader.downloader import BinanceBulkDownloader  # noqa: PLC0415 (not part of the download)

    def answer(request: dict[str, Any]) -> Any:
        with tempfile.TemporaryDirectory() as folder:
            loader = BinanceBulkDownloader(
                folder, "klines", request["interval"], "spot", config["period"], request["symbols"][0]
            )
            loader._BINANCE_DATA_DOWNLOAD_BASE_URL = config["url"]  # noqa: SLF001 (it has no option for this)
            loader._get_file_list_from_s3_bucket = lambda _prefix: request["paths"]  # noqa: SLF001 (likewise)
            loader.run_download()
            return sum(file.stat().st_size for file in Path(folder).rglob("*.csv"))

    return answer


if __name__ == "__main__":
    serve(make, ("binance-bulk-downloader",))
