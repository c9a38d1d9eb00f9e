-- When did the spot market stand still on 2023-03-24, and where did prices reopen?
-- ckvd_gaps has a row per run of missing bars: those that open in ["from", "to"), `count` of them. A gap is
-- a fact about the exchange, not about the download: what can't be fetched raises an error instead. The two ASOF joins
-- find the last price before each gap and the first one after it.
WITH bars AS (
    SELECT
        symbol,
        open_time,
        open,
        close
    FROM ckvd_klines(['BTCUSDT', 'ETHUSDT', 'BNBUSDT'], '1m', '2023-03-24', '2023-03-25')
)

SELECT
    gaps.symbol,
    gaps."from",
    gaps."to",
    gaps.count AS minutes,
    last_bar.close AS last_price,
    next_bar.open AS next_price,
    round(100 * (next_bar.open / last_bar.close - 1), 3) AS reopened_pct
FROM ckvd_gaps(['BTCUSDT', 'ETHUSDT', 'BNBUSDT'], '1m', '2023-03-24', '2023-03-25') AS gaps
ASOF LEFT JOIN bars AS last_bar ON gaps.symbol = last_bar.symbol AND gaps."from" > last_bar.open_time
ASOF LEFT JOIN bars AS next_bar ON gaps.symbol = next_bar.symbol AND gaps."to" <= next_bar.open_time
ORDER BY gaps.symbol, gaps."from";
