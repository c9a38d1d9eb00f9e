-- Is BTCUSDT dear or cheap against its own average of the day?
-- The volume-weighted average price since midnight UTC. Binance states what was paid (`quote_volume`) beside what was
-- traded (`volume`), so the average is exact, not estimated from typical prices. `close_vs_vwap_bps` above 0: the hour
-- closed above what the day's buyers had paid so far, in hundredths of a percent.
WITH hours AS (
    SELECT
        open_time,
        close,
        sum(quote_volume) OVER today / sum(volume) OVER today AS vwap
    FROM ckvd_klines('BTCUSDT', '1h', '2024-06-10', '2024-06-12')
    WINDOW today AS (
        PARTITION BY (open_time AT TIME ZONE 'UTC')::DATE
        ORDER BY open_time
    )
)

SELECT
    open_time,
    close,
    round(vwap, 2) AS vwap,
    round(10_000 * (close / vwap - 1), 1) AS close_vs_vwap_bps
FROM hours
ORDER BY open_time;
