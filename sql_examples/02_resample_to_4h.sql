-- How are 1h bars made into 4h bars (or into any length that Binance does not offer)?
-- Open and close are those of the first and last hour of a bucket, the rest is maximum, minimum and sum. `hours` tells
-- how many bars a bucket is made of: fewer than 4 and the market, or the range, has a gap there.
SELECT
    time_bucket(INTERVAL 4 HOURS, open_time) AS bucket,
    arg_min(open, open_time) AS open,
    max(high) AS high,
    min(low) AS low,
    arg_max(close, open_time) AS close,
    round(sum(volume), 5) AS volume,
    sum(trades)::BIGINT AS trades,
    count(*) AS hours
FROM ckvd_klines('ETHUSDT', '1h', '2024-05-01', '2024-05-04')
GROUP BY bucket
ORDER BY bucket;
