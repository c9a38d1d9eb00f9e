"""What is recorded about a fetched day."""

from __future__ import annotations

import pytest

from ckvd_sql.market.provenance import Provenance, Source


@pytest.mark.parametrize(("verified", "shown"), [(True, "verified"), (False, "unverified"), (None, "")])
def test_the_checksum_is_verified_or_unverified_or_there_is_none(verified: bool | None, shown: str) -> None:
    assert Provenance(Source.VISION, "https://x", "00", 0, verified).checksum == shown


def test_sources_are_the_values_of_the_sql_column_in_the_order_of_the_failover() -> None:
    assert [source.value for source in Source][:4] == ["cache", "lake", "vision", "rest"]
