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

#: The faults after which a request is not retried.
NOT_RETRIED = {
    "403",
    "404",
    "451",
    "429",
    "418",
    "another error",
    *(name for name in REST_FAULTS if "redirect" in name),
}
#: The faults whose answers are malformed.
MALFORMED = {
    *(REST_FAULTS.keys() - FAULTS.keys() - {"429", "418", "another error"}),
    "HTML", "empty", "other JSON", "invalid gzip",
}  # fmt: skip


#: The faults with bytes after the answer: whether it is seen to be cut short or the connection to be broken is a race.
WRONG_LENGTHS = {"wrong Content-Length", "Content-Length of 0"}


def expected_errors(name: str) -> set[type[ProviderError]]:
    """The classes of which the error of a lasting REST fault has one."""
    if name in WRONG_LENGTHS:
        return {MalformedDataError, ProviderUnavailableError}
    return {_expected_error(name)}


def _expected_error(name: str) -> type[ProviderError]:
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
    assert type(failed.value) in expected_errors(name)
    assert not list(client.settings.cache_dir.rglob("*.arrow"))
    exchange.clear_faults()
    # By another name of the same host, because a 429 is remembered by host name.
    again = make_client(spot_url=exchange.url.replace("127.0.0.1", "localhost"))
    assert table_bars(again.klines("BTCUSDT", *SPAN)) == truth("BTCUSDT", "1h", *SPAN)


@pytest.mark.parametrize("name", [name for name in REST_FAULTS if name not in NOT_RETRIED])
def test_a_fault_of_rest_that_happens_once_is_retried(
    exchange: Sandbox, make_client: MakeClient, truth: Truth, name: str
) -> None:
    exchange.add(Fault(ARCHIVE, "status", status=404))
    exchange.add(Fault(rf"{REST}.*startTime=17", **{**REST_FAULTS[name], "times": 1}))
    found = make_client(**timeout_for(name)).klines("BTCUSDT", *SPAN)
    assert (table_bars(found), table_sources(found)) == (truth("BTCUSDT", "1h", *SPAN), {"rest"})


@pytest.mark.parametrize("name", sorted(NOT_RETRIED - {"429", "418"}))
def test_a_refused_request_is_sent_once_per_query(
    exchange: Sandbox, make_client: MakeClient, truth: Truth, name: str
) -> None:
    exchange.add(Fault(ARCHIVE, "status", status=404))
    exchange.add(Fault(REST, **REST_FAULTS[name]))
    with pytest.raises(ProviderError):
        make_client(retries=3).klines("BTCUSDT", *SPAN)
    queries = [request.query for request in exchange.requests if re.search(REST, request.path)]
    assert len(queries) == len(set(queries))
    exchange.clear_faults()
    assert table_bars(make_client().klines("BTCUSDT", *SPAN)) == truth("BTCUSDT", "1h", *SPAN)


@pytest.mark.parametrize("kind", ["torn", "length"])
def test_a_truncated_rest_answer_is_never_used(
    exchange: Sandbox, make_client: MakeClient, truth: Truth, kind: str
) -> None:
    exchange.add(Fault(ARCHIVE, "status", status=404))
    client = make_client(retries=0)
    client.klines("BTCUSDT", "2024-04-28", "2024-04-29")  # so that the listing date is known
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
            assert cut >= size - 6_000, cut  # beyond the end nothing is truncated
            assert table_bars(found) == truth("BTCUSDT", "15m", "2024-05-01", "2024-05-02")
            break
    exchange.clear_faults()
    assert table_bars(client.klines("BTCUSDT", "2024-05-01", "2024-05-02", "15m")) == truth(
        "BTCUSDT", "15m", "2024-05-01", "2024-05-02"
    )


MALFORMED_REFUSALS: dict[str, dict[str, Any]] = {
    "an infinite error code": {"status": 400, "body": '{"code":1e999,"msg":"x"}'},
    "an error nested too deeply": {"status": 400, "body": "[" * 100_000},
    "an error code that is text": {"status": 400, "body": '{"code":"no","msg":"x"}'},
    "an error that is a list": {"status": 400, "body": "[]"},
    "a Retry-After of NaN": {"status": 429, "headers": {"Retry-After": "nan"}},
    "an infinite Retry-After": {"status": 418, "headers": {"Retry-After": "inf"}},
    "a negative Retry-After": {"status": 429, "headers": {"Retry-After": "-5"}},
    "a Retry-After that is a date": {"status": 429, "headers": {"Retry-After": "Wed, 21 Oct 2099 07:28:00 GMT"}},
    "a Retry-After that is text": {"status": 429, "headers": {"Retry-After": "soon"}},
    "a used weight that is not a number": {"status": 503, "headers": {"X-MBX-USED-WEIGHT-1M": "²"}},
    "a used weight of 5000 digits": {"status": 503, "headers": {"X-MBX-USED-WEIGHT-1M": "9" * 5000}},
    "a Date in the year 1": {"status": 503, "headers": {"Date": "Mon, 01 Jan 0001 00:00:00 GMT"}},
    "an invalid Date": {"status": 503, "headers": {"Date": "Mon, 99 Foo 99999 99:99:99"}},
}


@pytest.mark.parametrize("name", MALFORMED_REFUSALS)
def test_malformed_refusals_are_provider_errors(exchange: Sandbox, make_client: MakeClient, name: str) -> None:
    exchange.add(Fault(ARCHIVE, "status", status=404))
    exchange.add(Fault(REST, "status", **MALFORMED_REFUSALS[name]))
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
