-- What is in the cache, and does any series have holes?
-- A row per series. `days` are complete UTC days on disk; `days_missing` are those between the first and the last that
-- are not there, for bars of a day or shorter: a query over them would fetch them. Nothing is fetched here, and no bar is
-- read: each file's metadata has it. The view also has every file's path, size, URL, SHA-256 and time of fetching.
SELECT
    market,
    symbol,
    "interval",
    min(date) AS first_day,
    max(date) AS last_day,
    count(*) AS days,
    max(date) - min(date) + 1 - count(*) AS days_missing,
    sum("rows")::BIGINT AS bars,
    list(DISTINCT source ORDER BY source) AS sources
FROM ckvd_cache_days
GROUP BY market, symbol, "interval"
ORDER BY market, symbol, "interval";
