"""Faults of REST: the rows are right all the same, or there is an error of the right class and nothing is cached."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

from ckvd_sql import (
    CkvdError,
    MalformedDataError,
    ProviderError,
    ProviderUnavailableError,
    RateLimitError,
)
from ckvd_sql.sandbox import Fault, Sandbox
from tests.support.arrow import table_bars, table_sources
from tests.support.faults import ARCHIVE, FAULTS, REST, REST_FAULTS, timeout_for

if TYPE_CHECKING:
    from tests.conftest import MakeClient, Truth
SPAN = ("2024-05-01", "2024-05-03")

#: The faults after which REST is not asked again by itself, and those whose answers are what is wrong.
NOT_TRIED_AGAIN = {
    "403",
    "404",
    "451",
    "429",
    "418",
    "another error",
    *(name for name in REST_FAULTS if "redirect" in name),
}
MALFORMED = {
    *(REST_FAULTS.keys() - FAULTS.keys() - {"429", "418", "another error"}),
    "wrong Content-Length", "Content-Length of nothing", "HTML", "empty", "other JSON",
}  # fmt: skip


def expected_error(name: str) -> type[ProviderError]:
    """What a REST fault that stays is called."""
    if name in ("429", "418"):
        return RateLimitError
    if name in ("404", "another error"):
        return ProviderError
    return MalformedDataError if name in MALFORMED else ProviderUnavailableError


@pytest.mark.parametrize("name", REST_FAULTS)
def test_a_lasting_fault_of_rest_is_an_error_of_its_class_and_nothing_is_cached(
    exchange: Sandbox, make_client: MakeClient, truth: Truth, name: str
) -> None:
    exchange.add(Fault(ARCHIVE, "status", status=404))
    exchange.add(Fault(REST, **REST_FAULTS[name]))
    client = make_client(retries=0, **timeout_for(name))
    with pytest.raises(CkvdError) as failed:
        client.klines("BTCUSDT", *SPAN)
    assert type(failed.value) is expected_error(name)
    assert not list(client.settings.cache_dir.rglob("*.arrow"))
    exchange.clear_faults()
    # Under another name of the same host, for a 429 is remembered by host.
    again = make_client(spot_url=exchange.url.replace("127.0.0.1", "localhost"))
    assert table_bars(again.klines("BTCUSDT", *SPAN)) == truth("BTCUSDT", "1h", *SPAN)


@pytest.mark.parametrize("name", [name for name in REST_FAULTS if name not in NOT_TRIED_AGAIN])
def test_a_fault_of_rest_that_happens_once_is_retried(
    exchange: Sandbox, make_client: MakeClient, truth: Truth, name: str
) -> None:
    exchange.add(Fault(ARCHIVE, "status", status=404))
    exchange.add(Fault(rf"{REST}.*startTime=17", **{**REST_FAULTS[name], "times": 1}))
    found = make_client(**timeout_for(name)).klines("BTCUSDT", *SPAN)
    assert (table_bars(found), table_sources(found)) == (truth("BTCUSDT", "1h", *SPAN), {"rest"})


@pytest.mark.parametrize("name", sorted(NOT_TRIED_AGAIN - {"429", "418"}))
def test_a_refused_request_is_sent_once_per_query(
    exchange: Sandbox, make_client: MakeClient, truth: Truth, name: str
) -> None:
    exchange.add(Fault(ARCHIVE, "status", status=404))
    exchange.add(Fault(REST, **REST_FAULTS[name]))
    with pytest.raises(ProviderError):
        make_client(retries=3).klines("BTCUSDT", *SPAN)
    asked = [request.query for request in exchange.requests if re.search(REST, request.path)]
    assert len(asked) == len(set(asked))
    exchange.clear_faults()
    assert table_bars(make_client().klines("BTCUSDT", *SPAN)) == truth("BTCUSDT", "1h", *SPAN)


@pytest.mark.parametrize("kind", ["torn", "length"])
def test_a_truncated_rest_answer_is_never_used(
    exchange: Sandbox, make_client: MakeClient, truth: Truth, kind: str
) -> None:
    exchange.add(Fault(ARCHIVE, "status", status=404))
    client = make_client(retries=0)
    client.klines("BTCUSDT", "2024-04-28", "2024-04-29")  # so that the listing is known
    size = len(client.klines("BTCUSDT", "2024-04-30", "2024-05-01", "15m")) * 150
    for cut in (0, 1, 2, *range(1024, size, 1024)):
        exchange.clear_faults()
        exchange.add(Fault(ARCHIVE, "status", status=404))
        exchange.add(Fault(REST, kind, after=cut, times=1))
        try:
            found = client.klines("BTCUSDT", "2024-05-01", "2024-05-02", "15m")
        except ProviderError:
            assert not list(client.settings.cache_dir.rglob("15m/2024-05-01.arrow")), cut
        else:
            assert cut >= size - 6_000, cut  # past its end there is nothing to cut
            assert table_bars(found) == truth("BTCUSDT", "15m", "2024-05-01", "2024-05-02")
            break
    exchange.clear_faults()
    assert table_bars(client.klines("BTCUSDT", "2024-05-01", "2024-05-02", "15m")) == truth(
        "BTCUSDT", "15m", "2024-05-01", "2024-05-02"
    )


STRANGE: dict[str, dict[str, Any]] = {
    "a code beyond all numbers": {"status": 400, "body": '{"code":1e999,"msg":"x"}'},
    "an error nested without end": {"status": 400, "body": "[" * 100_000},
    "a code that is text": {"status": 400, "body": '{"code":"no","msg":"x"}'},
    "an error that is a list": {"status": 400, "body": "[]"},
    "a wait that is no number": {"status": 429, "headers": {"Retry-After": "nan"}},
    "a wait without end": {"status": 418, "headers": {"Retry-After": "inf"}},
    "a wait in the past": {"status": 429, "headers": {"Retry-After": "-5"}},
    "a wait that is a date": {"status": 429, "headers": {"Retry-After": "Wed, 21 Oct 2099 07:28:00 GMT"}},
    "a wait that is a word": {"status": 429, "headers": {"Retry-After": "soon"}},
    "a used weight that is no number": {"status": 503, "headers": {"X-MBX-USED-WEIGHT-1M": "²"}},
    "a used weight without end": {"status": 503, "headers": {"X-MBX-USED-WEIGHT-1M": "9" * 5000}},
    "a date before all": {"status": 503, "headers": {"Date": "Mon, 01 Jan 0001 00:00:00 GMT"}},
    "a date that is none": {"status": 503, "headers": {"Date": "Mon, 99 Foo 99999 99:99:99"}},
}


@pytest.mark.parametrize("name", STRANGE)
def test_malformed_refusals_are_provider_errors(exchange: Sandbox, make_client: MakeClient, name: str) -> None:
    exchange.add(Fault(ARCHIVE, "status", status=404))
    exchange.add(Fault(REST, "status", **STRANGE[name]))
    with pytest.raises(ProviderError) as failed:
        make_client(retries=0).klines("BTCUSDT", *SPAN)
    if isinstance(failed.value, RateLimitError):
        assert 0 < failed.value.retry_after <= 3 * 86_400


def test_a_page_with_duplicates_is_not_taken_as_complete(
    exchange: Sandbox, make_client: MakeClient, truth: Truth
) -> None:
    exchange.add(Fault(ARCHIVE, "status", status=404))
    exchange.add(Fault(REST, "anomaly", name="duplicates"))
    client = make_client(retries=0)
    try:
        assert table_bars(client.klines("BTCUSDT", *SPAN, "15m")) == truth("BTCUSDT", "15m", *SPAN)
    except ProviderError:
        assert not list(client.settings.cache_dir.rglob("*.arrow"))
