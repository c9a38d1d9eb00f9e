-- What was known of bitcoin's 4h trend when each hour of SOLUSDT began?
-- Each 1h bar meets the latest 4h bar that had closed before it opened, never the one it lies in: joining on the open
-- time instead would let a strategy look up to four hours into the future. `bitcoin_closed` shows which bar that was.
WITH bitcoin AS (
    SELECT
        close_time,
        100 * (close / open - 1) AS trend_pct
    FROM ckvd_klines('BTCUSDT', '4h', '2024-06-02', '2024-06-04')
),

solana AS (
    SELECT
        open_time,
        100 * (close / open - 1) AS return_pct
    FROM ckvd_klines('SOLUSDT', '1h', '2024-06-03', '2024-06-04')
)

SELECT
    solana.open_time,
    bitcoin.close_time AS bitcoin_closed,
    round(bitcoin.trend_pct, 3) AS bitcoin_trend_pct,
    round(solana.return_pct, 3) AS solana_return_pct
FROM solana
ASOF JOIN bitcoin ON solana.open_time > bitcoin.close_time
ORDER BY solana.open_time;
