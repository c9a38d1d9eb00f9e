-- What did an hour of BTCUSDT look like on 2024-06-01?
-- A row is a closed bar that opens in [start, end), in UTC. `volume` is in BTC, `quote_volume` in USDT, and
-- `taker_buy_volume` is the part of the volume in which the buyer took the offer: above 50 % buyers were in a hurry.
SELECT
    open_time,
    open,
    high,
    low,
    close,
    volume,
    trades,
    round(quote_volume / trades, 2) AS usdt_per_trade,
    round(100 * taker_buy_volume / volume, 1) AS taker_buy_pct
FROM ckvd_klines('BTCUSDT', '1h', '2024-06-01', '2024-06-02')
ORDER BY open_time;
