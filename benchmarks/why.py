"""Why a goal is where it is: what bounds it from below. Written by hand, printed where a goal is missed."""

from __future__ import annotations

#: By the number of the goal. Keep a sentence only for as long as it is true.
WHY = {
    "1": (
        "The floor is four system calls a file (open, fstat, mmap or read, close), of which a month or a year "
        "has one, 88 bytes a row, and DuckDB's own scan, which is as fast over mapped packs as over a native "
        "table. But DuckDB binds a Python dataset more slowly than a native table, and more slowly still with "
        "arguments that it has not seen, so that only long scans come near it. Parquet's time on a single "
        "month is bounded in the same way. A filter on open_time is judged by year, month, part of the month "
        "and day before anything is read. Casting a TIMESTAMPTZ to a date goes through the time zone database "
        "and takes longer than all the rest, with every contender."
    ),
    "2": (
        "`con.sql(...).to_arrow_table()` binds a statement twice, each time as said under 1. The slowest one "
        "in a hundred meets a pause of Python's garbage collector, or whatever else runs on the machine."
    ),
    "3": ("The first query meets its goal; a statement that takes a native table a millisecond is bounded as under 1."),
    "4": (
        "A symbol costs a stat of its folder, a look at its days and a batch a year, and in a fresh process "
        "three packs to open. Parquet with all symbols in a file has a hundredth of its files."
    ),
    "5": (
        "The floor neither parses CSV, which takes as long as inflating it, nor writes and syncs a file a "
        "day, nor loads its HTTP client within the time that counts. The first month goes alone, so that a "
        "LIMIT fetches no more. Monthly archives are held against daily ones that are near their own floor."
    ),
}
