-- Did bitcoin's perpetual future trade above or below spot in the first week of June 2024?
-- The same hours of both markets side by side. The basis is the future's close over the spot close, in hundredths of a
-- percent: above 0 buyers of the future pay up for leverage. `um_turnover_ratio` is futures turnover over spot turnover.
WITH basis AS (
    SELECT
        (open_time AT TIME ZONE 'UTC')::DATE AS day,
        10_000 * (um.close / spot.close - 1) AS basis_bps,
        um.quote_volume AS um_turnover,
        spot.quote_volume AS spot_turnover
    FROM ckvd_klines('BTCUSDT', '1h', '2024-06-01', '2024-06-08', market := 'um') AS um
    INNER JOIN ckvd_klines('BTCUSDT', '1h', '2024-06-01', '2024-06-08', market := 'spot') AS spot USING (open_time)
)

SELECT
    day,
    count(*) AS hours,
    round(avg(basis_bps), 2) AS mean_bps,
    round(min(basis_bps), 2) AS lowest_bps,
    round(max(basis_bps), 2) AS highest_bps,
    round(sum(um_turnover) / sum(spot_turnover), 2) AS um_turnover_ratio
FROM basis
GROUP BY day
ORDER BY day;
