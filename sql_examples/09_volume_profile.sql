-- At which prices was bitcoin traded in the week from Monday 2024-06-03?
-- A histogram of volume by price, in steps of 500 USDT, highest price on top as on a trader's screen. A minute's volume
-- counts at that minute's own average price (paid over traded). The longest bar is the point of control, where most
-- changed hands; thin rows between thick ones are prices that the market passed through quickly.
WITH minutes AS (
    SELECT
        volume,
        500 * floor(quote_volume / volume / 500)::BIGINT AS price_from
    FROM ckvd_klines('BTCUSDT', '1m', '2024-06-03', '2024-06-10')
    WHERE volume > 0
),

profile AS (
    SELECT
        price_from,
        sum(volume) AS volume
    FROM minutes
    GROUP BY price_from
)

SELECT
    price_from,
    round(volume, 3) AS volume,
    round(100 * volume / sum(volume) OVER (), 2) AS share_pct,
    bar(volume, 0, max(volume) OVER (), 30) AS profile
FROM profile
ORDER BY price_from DESC;
