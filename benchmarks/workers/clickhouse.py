"""chDB (ClickHouse as a library) over the day files. Configuration: `day_files`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from benchmarks.workers.loop import serve

if TYPE_CHECKING:
    from collections.abc import Callable

_STATEMENTS = {
    "total": "SELECT count(), sum(volume), max(high) FROM {bars}",
    "daily": (
        "SELECT toStartOfDay(open_time) AS day, argMin(open, open_time), max(high), min(low), "
        "argMax(close, open_time), sum(volume) FROM {bars} GROUP BY day ORDER BY day"
    ),
    "daily by number": (
        "SELECT intDiv(toUnixTimestamp64Micro(open_time), 86400000000) AS day, argMin(open, open_time), max(high), "
        "min(low), argMax(close, open_time), sum(volume) FROM {bars} GROUP BY day ORDER BY day"
    ),
}


def make(config: dict[str, Any]) -> Callable[[dict[str, Any]], Any]:
    """A session, and a function that runs statements in it."""
    from chdb.session import Session  # noqa: PLC0415 (the import is measured)

    session = Session()

    def answer(request: dict[str, Any]) -> Any:
        bars = f"file('{config['day_files']}/*.arrow', Arrow)"
        if not request.get("whole"):
            bars += f" WHERE open_time >= toDateTime64('{request['start']} 00:00:00', 6, 'UTC')"
            bars += f" AND open_time < toDateTime64('{request['end']} 00:00:00', 6, 'UTC')"
        text = session.query(_STATEMENTS[request["task"]].format(bars=bars), "JSONCompact").data()
        return json.loads(text)["data"]

    return answer


if __name__ == "__main__":
    serve(make, ("chdb", "chdb-core"))
