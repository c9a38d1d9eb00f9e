"""The contenders within DuckDB: ckvd_sql, native tables in memory and in a file, Parquet, a stock pyarrow dataset.

Their statements differ only in what follows FROM. Configuration: `kind`, and the paths or settings that it needs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benchmarks.workers.loop import serve

if TYPE_CHECKING:
    from collections.abc import Callable

    from duckdb import DuckDBPyConnection

#: By task. `{bars}` stands for what the contender reads.
STATEMENTS = {
    "total": "SELECT count(*), sum(volume), max(high) FROM {bars}",
    "daily": (
        "SELECT open_time::DATE AS day, arg_min(open, open_time), max(high), min(low), "
        "arg_max(close, open_time), sum(volume) FROM {bars} GROUP BY day ORDER BY day"
    ),
    # Without the time zone database, which takes longer than the rest of the statement above.
    "daily by number": (
        "SELECT epoch_us(open_time) // 86400000000 AS day, arg_min(open, open_time), max(high), min(low), "
        "arg_max(close, open_time), sum(volume) FROM {bars} GROUP BY day ORDER BY day"
    ),
    "by symbol": "SELECT symbol, count(*), avg(close) FROM {bars} GROUP BY symbol ORDER BY symbol",
    "rows": "SELECT * FROM {bars}",
    "days of cache": "SELECT count(*), sum(rows) FROM ckvd_cache_days",
    "pruned cache": (
        "SELECT count(*), sum(volume) FROM ckvd_cache WHERE symbol = '{symbol}' AND \"interval\" = '{interval}' "
        "AND date >= '{start}' AND date < '{end}'"
    ),
}


def make(config: dict[str, Any]) -> Callable[[dict[str, Any]], Any]:
    """A connection to what the configuration names, and a function that runs statements on it."""
    con = _open(config)
    con.execute("SET TimeZone = 'UTC'")
    if threads := config.get("threads"):
        con.execute(f"SET threads = {threads}")
    return lambda request: _answer(con, config, request)


def _open(config: dict[str, Any]) -> DuckDBPyConnection:
    kind = config["kind"]
    if kind == "ckvd":
        import ckvd_sql  # noqa: PLC0415 (the import is measured)

        return ckvd_sql.connect(**config["settings"])
    import duckdb  # noqa: PLC0415 (likewise)

    if kind == "native file":
        return duckdb.connect(config["native"], read_only=True)
    con = duckdb.connect()
    if kind == "native":
        con.execute(f"ATTACH '{config['native']}' AS file (READ_ONLY)")
        con.execute("CREATE TABLE bars AS FROM file.bars")
        con.execute("DETACH file")
    elif kind == "dataset":
        import pyarrow.dataset as ds  # noqa: PLC0415 (likewise)

        con.register("bars", ds.dataset(config["day_files"], format="ipc"))
    return con


def _answer(con: DuckDBPyConnection, config: dict[str, Any], request: dict[str, Any]) -> Any:
    """Run one statement to its end; with `first`, up to its first batch.

    The rows of `rows` go to Arrow, all at once or (with `stream`) batch by batch, and their number is returned.
    """
    relation = _relation(config, request)
    names = {name: request.get(name, "") for name in ("interval", "start", "end")}
    symbol = (request.get("symbols") or [""])[0]
    statement = STATEMENTS[request["task"]].format(bars=relation, symbol=symbol, **names)
    if limit := request.get("limit"):
        statement += f" LIMIT {limit}"
    if request.get("stream"):
        with con.sql(statement).to_arrow_reader(100_000) as reader:
            return sum(batch.num_rows for batch in reader)
    if request.get("first"):
        with con.sql(statement).to_arrow_reader(2048) as reader:
            return reader.read_next_batch().num_rows
    if request["task"] == "rows":
        return con.sql(statement).to_arrow_table().num_rows
    return con.execute(statement).fetchall()


def _relation(config: dict[str, Any], request: dict[str, Any]) -> str:
    if "symbols" not in request:
        return ""
    symbols, start, end = request["symbols"], request["start"], request["end"]
    where = f"open_time >= TIMESTAMPTZ '{start} 00:00:00+00' AND open_time < TIMESTAMPTZ '{end} 00:00:00+00'"
    if config["kind"] == "ckvd":
        listed = ", ".join(f"'{symbol}'" for symbol in symbols)
        names = f"[{listed}]" if len(symbols) > 1 else listed
        if outer := request.get("within"):
            return f"ckvd_klines({names}, '{request['interval']}', '{outer[0]}', '{outer[1]}') WHERE {where}"
        return f"ckvd_klines({names}, '{request['interval']}', '{start}', '{end}')"
    bars = f"read_parquet('{config['parquet']}')" if config["kind"] == "parquet" else "bars"
    conditions = [] if request.get("whole") else [where]
    if config.get("several"):
        listed = ", ".join(f"'{symbol}'" for symbol in symbols)
        conditions += [] if request.get("all symbols") else [f"symbol IN ({listed})"]
    return f"{bars} WHERE {' AND '.join(conditions)}" if conditions else bars


if __name__ == "__main__":
    serve(make, ("duckdb", "pyarrow", "polars", "ckvd-sql"))
