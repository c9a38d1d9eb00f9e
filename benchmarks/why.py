"""Why a goal is where it is: what bounds it from below. Written by hand, printed where a goal is missed."""

from __future__ import annotations

#: By the number of the goal. Keep a sentence only for as long as it is true.
WHY = {
    "1": (
        "To bind a Python dataset takes DuckDB about half a millisecond longer than to bind a native table, and half of "
        "that again for arguments it has not seen; the scan itself is as fast as a native one, so that only long scans "
        "come near 1.3. Parquet's time on a single month is bounded by the same costs. A filter on open_time is judged "
        "by year, month, part of the month and day, some 20 µs each, before anything is read. Casting a TIMESTAMPTZ to "
        "a date goes through the time zone database and takes longer than all the rest, with every contender."
    ),
    "2": (
        "`con.sql(...).to_arrow_table()` binds a statement twice, each time as said under 1. The slowest one in a "
        "hundred meets a pause of Python's garbage collector (10 to 20 ms), or whatever else runs on the machine."
    ),
    "3": "The first query meets its goal; a statement that takes a native table a millisecond is bounded as under 1.",
    "4": (
        "A symbol costs some 0.1 ms: a stat of its folder, a look at its days, a batch a year. In a fresh process "
        "three packs are opened for it, some 0.1 ms each. Parquet with all symbols in a file has a third of the files."
    ),
    "5": (
        "The floor neither parses CSV nor keeps anything: per day, inflating takes 0.9 ms, CSV 0.9, checks 0.1, encoding "
        "0.25, writing with fsync 0.3, HTTP 0.4, and importing the HTTP client 0.16 s once. Downloading, parsing and "
        "writing alone, without any product code, reached 56 % of the floor with monthly archives on two cores. The "
        "first month goes alone, so that a LIMIT fetches no more. Monthly archives come no closer to three times the "
        "daily ones because those are at two thirds of their floor."
    ),
}
