"""TLS: a host whose certificate does not verify gets no request."""

from __future__ import annotations

import json
import os
import shutil
import ssl
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Self

import pytest

from ckvd_sql import ProviderUnavailableError
from ckvd_sql.sandbox import Fault, Sandbox
from tests.support.clients import DAY, client_for
from tests.support.connections import settings_for
from tests.support.faults import ARCHIVE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def certificate(folder: Path, names: str) -> Path:
    """The path of a self-signed certificate for these names; its key is in `key.pem` beside it."""
    if shutil.which("openssl") is None:
        pytest.skip("making a certificate needs the openssl command")
    made, key = folder / "certificate.pem", folder / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-subj", "/CN=sandbox", "-addext", f"subjectAltName={names}", "-days", "2"]
    subprocess.run([*command, "-keyout", key, "-out", made], check=True, capture_output=True)
    return made


class HttpsProxy:
    """An HTTPS proxy of the sandbox on loopback that logs its requests."""

    def __init__(self, exchange: Sandbox, folder: Path, names: str) -> None:
        self.requests: list[str] = []
        self.certificate = certificate(folder, names)
        secure = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                secure.requests.append(self.path)
                try:
                    with urllib.request.urlopen(exchange.url + self.path) as answer:
                        status, body = answer.status, answer.read()
                except urllib.error.HTTPError as error:
                    with error:
                        status, body = error.code, error.read()
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            def handle_error(self, *_: object) -> None:
                pass

        self._server = Server(("127.0.0.1", 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, folder / "key.pem")
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self.url = f"https://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def secure(exchange: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HttpsProxy]:
    with HttpsProxy(exchange, tmp_path_factory.mktemp("tls"), "IP:127.0.0.1,DNS:localhost") as server:
        yield server


FETCH = """
import json, sys
from ckvd_sql import CryptoKlineVisionData, CkvdError
try:
    found = CryptoKlineVisionData(**json.loads(sys.argv[1])).klines("BTCUSDT", "2024-05-01", "2024-05-02")
    print(*sorted(set(found.column("source").to_pylist())))
except CkvdError as error:
    print(type(error).__name__)
"""


def fetch_with(environment: dict[str, str], settings: dict[str, Any]) -> str:
    """Fetch the day in a process with this environment; its source, or the name of the error."""
    text = json.dumps({name: str(value) for name, value in settings.items()})
    command = [sys.executable, "-c", FETCH, text]
    done = subprocess.run(
        command, env={**os.environ, **environment}, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_an_archive_with_an_untrusted_certificate_gets_no_request(
    exchange: Sandbox, tmp_path: Path, secure: HttpsProxy
) -> None:
    found = client_for(exchange, tmp_path / "cache", vision_url=secure.url).klines("BTCUSDT", *DAY)
    assert set(found.column("source").to_pylist()) == {"rest"}
    assert secure.requests == []


def test_a_rest_host_with_an_untrusted_certificate_gets_no_request(
    exchange: Sandbox, tmp_path: Path, secure: HttpsProxy
) -> None:
    exchange.add(Fault(ARCHIVE, "status", status=404))
    with pytest.raises(ProviderUnavailableError, match=r"(?i)certificate"):
        client_for(exchange, tmp_path / "cache", spot_url=secure.url).klines("BTCUSDT", *DAY)
    assert secure.requests == []


def test_a_certificate_that_the_system_trusts_is_accepted(
    exchange: Sandbox, tmp_path: Path, secure: HttpsProxy
) -> None:
    # This shows that verification is what refuses the other ones.
    trust = {"SSL_CERT_FILE": str(secure.certificate)}
    both = {"vision_url": secure.url, "spot_url": secure.url}
    assert fetch_with(trust, settings_for(exchange, tmp_path / "cache", **both)) == "vision"
    exchange.add(Fault(ARCHIVE, "status", status=404))
    assert fetch_with(trust, settings_for(exchange, tmp_path / "other", **both)) == "rest"
    assert secure.requests


def test_a_trusted_certificate_of_another_host_is_refused(
    exchange: Sandbox, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with HttpsProxy(exchange, tmp_path_factory.mktemp("tls"), "DNS:elsewhere.example") as secure:
        trust = {"SSL_CERT_FILE": str(secure.certificate)}
        both = {"vision_url": secure.url, "spot_url": secure.url}
        assert fetch_with(trust, settings_for(exchange, tmp_path / "cache", **both)) == "ProviderUnavailableError"
        assert secure.requests == []


@pytest.mark.parametrize(
    "environment",
    [
        {"PYTHONHTTPSVERIFY": "0", "CURL_CA_BUNDLE": "", "REQUESTS_CA_BUNDLE": "", "CKVD_VERIFY": "0", "CKVD_SSL": "0"},
        {"FSSPEC_HTTPS": '{"ssl": false}', "FSSPEC_HTTP": '{"ssl": false}'},
        {"FSSPEC_CONFIG_DIR": "fsspec"},
    ],
    ids=["other tools'", "fsspec's environment", "fsspec's configuration"],
)
def test_settings_of_other_tools_do_not_disable_verification(
    exchange: Sandbox, tmp_path: Path, secure: HttpsProxy, environment: dict[str, str]
) -> None:
    folder = tmp_path / "fsspec"
    folder.mkdir()
    (folder / "conf.json").write_text('{"https": {"ssl": false}, "http": {"ssl": false}}')
    if "FSSPEC_CONFIG_DIR" in environment:
        environment = {"FSSPEC_CONFIG_DIR": str(folder)}
    both = {"vision_url": secure.url, "spot_url": secure.url}
    assert fetch_with(environment, settings_for(exchange, tmp_path / "cache", **both)) == "ProviderUnavailableError"
    assert secure.requests == []


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "SSL_CERT_DIR"])
def test_certificates_that_can_t_be_read_are_an_error(
    exchange: Sandbox, tmp_path: Path, secure: HttpsProxy, variable: str
) -> None:
    both = {"vision_url": secure.url, "spot_url": secure.url}
    trust = {variable: str(tmp_path / "nowhere")}
    found = fetch_with(trust, settings_for(exchange, tmp_path / "cache", **both))
    assert found == ("SettingsError" if variable == "SSL_CERT_FILE" else "ProviderUnavailableError")
    assert secure.requests == []
