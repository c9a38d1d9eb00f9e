"""Import and connection. Configuration: `what`, either `product` or `dependencies`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benchmarks.workers.loop import serve

if TYPE_CHECKING:
    from collections.abc import Callable


def make(config: dict[str, Any]) -> Callable[[dict[str, Any]], Any]:
    """Import what is configured; the measured time is the one until the worker is ready."""
    if config["what"] == "product":
        import ckvd_sql  # noqa: PLC0415 (measured)

        con = ckvd_sql.connect()
        return lambda _request: bool(con)
    import duckdb  # noqa: PLC0415 (measured)
    import polars as pl  # noqa: PLC0415 (measured)
    import pyarrow as pa  # noqa: PLC0415 (measured)

    return lambda _request: [module.__version__ for module in (duckdb, pl, pa)]


if __name__ == "__main__":
    serve(make, ())
