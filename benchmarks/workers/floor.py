"""The lower bound of a download: parallel HTTP, SHA-256 and inflate, storing nothing.

Configuration: `url`, `concurrency`.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import zipfile
from typing import TYPE_CHECKING, Any

from benchmarks.workers.loop import serve

if TYPE_CHECKING:
    from collections.abc import Callable

    import aiohttp


def make(config: dict[str, Any]) -> Callable[[dict[str, Any]], Any]:
    """A function that downloads zips and returns the number of bytes that they unpack to."""
    import aiohttp  # noqa: PLC0415 (not part of the download)

    async def download(paths: list[str]) -> int:
        slots = asyncio.Semaphore(config["concurrency"])
        connector = aiohttp.TCPConnector(limit=config["concurrency"])
        async with aiohttp.ClientSession(config["url"], connector=connector) as session:
            return sum(await asyncio.gather(*(_one(session, slots, path) for path in paths)))

    return lambda request: asyncio.run(download(request["paths"]))


async def _one(session: aiohttp.ClientSession, slots: asyncio.Semaphore, path: str) -> int:
    async with slots, session.get(f"/{path}.CHECKSUM") as response:
        checksum = (await response.text()).split()[0]
    async with slots, session.get(f"/{path}") as response:
        body = await response.read()
    return await asyncio.to_thread(_inflated_size, body, checksum)


def _inflated_size(body: bytes, expected: str) -> int:
    if hashlib.sha256(body).hexdigest() != expected:
        raise ValueError("the checksum is wrong")
    with zipfile.ZipFile(io.BytesIO(body)) as archive:
        return len(archive.read(archive.namelist()[0]))


if __name__ == "__main__":
    serve(make, ("aiohttp",))
