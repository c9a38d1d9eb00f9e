"""The symbols of the synthetic market: how many, of what kinds, and how their prices go together."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ckvd_sql.market.series import Market
from ckvd_sql.sandbox.symbols import SYMBOLS
from tests.support.bars import read
from tests.support.exchange import klines, rest_rows

if TYPE_CHECKING:
    import httpx
    from duckdb import DuckDBPyConnection

    from ckvd_sql.sandbox import Sandbox
    from tests.conftest import Truth

SPOT = {one.symbol: one for one in SYMBOLS[Market.SPOT]}
YEAR = "'1d', '2023-06-01', '2024-06-01'"


def test_there_are_dozens_of_symbols_with_several_quote_assets() -> None:
    assert len([one for one in SPOT.values() if one.quote == "USDT"]) >= 40
    assert {one.quote for one in SPOT.values()} == {"USDT", "USDC", "FDUSD"}
    assert len(SYMBOLS[Market.UM]) >= 15


def test_each_phase_of_the_3d_grid_occurs(con: DuckDBPyConnection, truth: Truth) -> None:
    phases = {one.listed // 86_400_000_000 % 3 for one in SPOT.values()}
    assert phases == {0, 1, 2}
    for symbol in ("LTCUSDT", "TRXUSDT", "BCHUSDT", "DOTUSDT"):
        span = (symbol, "3d", "2024-01-01", "2024-04-01")
        assert read(con, f"ckvd_klines{span}") == truth(*span)


def test_a_renamed_symbol_ends_and_the_new_one_begins(exchange: Sandbox) -> None:
    exchange.set_now("2024-12-15")
    old, new = SPOT["MATICUSDT"], SPOT["POLUSDT"]
    assert old.delisted is not None
    assert old.delisted < new.listed
    assert old.status_at(exchange.now) == "BREAK"


def test_a_delisted_symbol_keeps_its_bars_and_its_status(client: httpx.Client) -> None:
    rows = rest_rows(client, Market.SPOT, symbol="XMRUSDT", interval="1d", startTime=1_708_300_800_000)
    assert len(rows) == 2  # the last days of trading
    info = client.get("/api/v3/exchangeInfo", params={"symbol": "XMRUSDT"}).json()
    assert info["symbols"][0]["status"] == "BREAK"
    assert klines(client, Market.SPOT, symbol="XMRUSDT").status_code == 200


def test_most_coins_follow_bitcoin(con: DuckDBPyConnection) -> None:
    symbols = ["BTCUSDT", "LTCUSDT", "DOTUSDT", "UNIUSDT", "SHIBUSDT"]
    closes = con.sql(f"""
        PIVOT (SELECT symbol, open_time, close FROM ckvd_klines({symbols}, {YEAR}))
        ON symbol USING first(close) GROUP BY open_time ORDER BY open_time
    """).fetchnumpy()
    returns = {name: np.diff(np.log(values)) for name, values in closes.items() if name != "open_time"}
    for name in returns.keys() - {"BTCUSDT"}:
        assert 0.3 < np.corrcoef(returns["BTCUSDT"], returns[name])[0, 1] < 0.95


def test_a_contract_is_near_the_price_of_its_asset(con: DuckDBPyConnection) -> None:
    (widest,) = con.sql(f"""
        SELECT max(abs(um.close / spot.close - 1))
        FROM ckvd_klines('LTCUSDT', {YEAR}) spot JOIN ckvd_klines('LTCUSDT', {YEAR}, 'um') um USING (open_time)
    """).fetchall()[0]
    assert 0 < widest < 0.01
