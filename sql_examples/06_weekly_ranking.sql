-- Which of nine large pairs did best in the week from Monday 2024-06-03, and which for the risk taken?
-- One list of symbols is one scan. `return_rank` 1 gained most, `calm_rank` 1 moved least from hour to hour (standard
-- deviation of hourly log returns over the week, scaled to a week); `turnover_musdt` is what was traded, in millions.
WITH hourly AS (
    SELECT
        symbol,
        open_time,
        open,
        close,
        quote_volume,
        ln(close / open) AS log_return
    FROM ckvd_klines(
        ['BTCUSDT', 'ETHUSDT', 'BNBUSDT', 'SOLUSDT', 'XRPUSDT', 'ADAUSDT', 'DOGEUSDT', 'AVAXUSDT', 'LINKUSDT'],
        '1h', '2024-06-03', '2024-06-10'
    )
),

weekly AS (
    SELECT
        symbol,
        arg_max(close, open_time) / arg_min(open, open_time) - 1 AS gain,
        stddev_samp(log_return) * sqrt(count(*)) AS volatility,
        sum(quote_volume) AS turnover
    FROM hourly
    GROUP BY symbol
)

SELECT
    rank() OVER (ORDER BY gain DESC) AS return_rank,
    rank() OVER (ORDER BY volatility) AS calm_rank,
    symbol,
    round(100 * gain, 2) AS return_pct,
    round(100 * volatility, 2) AS volatility_pct,
    round(turnover / 1e6, 1) AS turnover_musdt
FROM weekly
ORDER BY return_rank, symbol;
