"""What klines are: UTC days, markets, intervals, series, queries, bars and gaps. No clock, disk or network."""
