-- How volatile was BTCUSDT in May 2024?
-- Log returns from close to close, and their standard deviation over the last 30 days, scaled to a year of 365 days
-- (this market has no weekend). April is read as well, so that the window is full from the first row on.
WITH daily AS (
    SELECT
        (open_time AT TIME ZONE 'UTC')::DATE AS day,
        close,
        ln(close / lag(close) OVER (ORDER BY open_time)) AS log_return
    FROM ckvd_klines('BTCUSDT', '1d', '2024-04-01', '2024-06-01')
),

rolling AS (
    SELECT
        *,
        stddev_samp(log_return) OVER last_30 * sqrt(365) AS volatility
    FROM daily
    WINDOW last_30 AS (ORDER BY day ROWS BETWEEN 29 PRECEDING AND CURRENT ROW)
)

SELECT
    day,
    close,
    round(100 * log_return, 2) AS log_return_pct,
    round(100 * volatility, 1) AS annual_volatility_pct
FROM rolling
WHERE day >= DATE '2024-05-01'
ORDER BY day;
