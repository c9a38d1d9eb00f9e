"""ckvd_sql's Python interface, `get_data`. Configuration: `settings`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benchmarks.workers.loop import serve

if TYPE_CHECKING:
    from collections.abc import Callable


def make(config: dict[str, Any]) -> Callable[[dict[str, Any]], Any]:
    """A client, and a function that gets a polars frame from it."""
    from ckvd_sql import CryptoKlineVisionData  # noqa: PLC0415 (the import is measured)

    client = CryptoKlineVisionData(**config["settings"])

    def answer(request: dict[str, Any]) -> Any:
        frame = client.get_data(request["symbols"][0], request["start"], request["end"], request["interval"])
        return [[frame.height, frame["volume"].sum(), frame["high"].max()]]

    return answer


if __name__ == "__main__":
    serve(make, ("ckvd-sql", "polars"))
