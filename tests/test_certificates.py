"""Whom TLS trusts, and the client's own certificate: where they are named, and what is wrong."""

from __future__ import annotations

import os
import shutil
import signal
import ssl
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests
from cryptography.hazmat.primitives import serialization
from faults import Conn, answer, ask, authority, client, listen, play

from websopy_sync import APIConnectionError, ConfigError
from websopy_sync.transport.certificates import client_certificate, trust_of

VARIABLES = ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR"]


pytestmark = pytest.mark.usefixtures("no_ca_in_the_environment")


@pytest.fixture
def gone(tmp_path: Path) -> str:
    """The path of a file that is not there."""
    return str(tmp_path / "gone.pem")


@pytest.mark.parametrize("variable", VARIABLES[:3])
def test_file_that_a_variable_names(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bundle that a variable names is trusted."""
    monkeypatch.setenv(variable, authority().path)
    with play(answer("safe"), tls=authority().server()) as server:
        with client(server, verify=True) as asker:
            assert ask(server, through=asker).text == "safe"


def test_directory_that_a_variable_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, needs: Callable[[object, str], None]
) -> None:
    """SSL_CERT_DIR names a directory as `openssl rehash` makes it."""
    needs(shutil.which("openssl"), "openssl")
    shutil.copy(authority().path, tmp_path / "ca.pem")
    subprocess.run(["openssl", "rehash", str(tmp_path)], check=True, capture_output=True)
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
    with play(answer("safe"), tls=authority().server()) as server:
        with client(server, verify=True) as asker:
            assert ask(server, through=asker).text == "safe"


def test_the_first_that_says_something_counts() -> None:
    """The argument beats the session, and that the variables, in a fixed order."""
    environment = {name: f"/{name}" for name in VARIABLES}

    def source(verify: bool | str = True, session: Any = True) -> str:
        found = trust_of(verify, session_verify=session, environment=environment)
        assert found.verify in (verify, str(session), f"/{found.source}", True)
        return found.source

    assert source("/a", "/b") == source(False, "/b") == "verify"
    assert source(True, "/b") == source(True, Path("/b")) == "session.verify"
    assert source(True, False) == "REQUESTS_CA_BUNDLE"
    for name in VARIABLES:
        assert source() == name
        environment[name] = ""
    assert source() == "certifi"


def test_list_of_directories(tmp_path: Path) -> None:
    """Of a list in SSL_CERT_DIR the first directory that is there counts."""
    value = os.pathsep.join(["/nowhere", str(tmp_path), "/"])
    found = trust_of(True, session_verify=True, environment={"SSL_CERT_DIR": value})
    assert (found.verify, found.missing, found.broken) == (str(tmp_path), "", "")


@pytest.mark.parametrize("variable", VARIABLES)
def test_leftover_variable_and_http(
    variable: str, gone: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A variable whose file is gone is no matter where there is no TLS."""
    monkeypatch.setenv(variable, gone)
    with play(answer("hi")) as server:
        assert ask(server).text == "hi"


@pytest.mark.parametrize("variable", VARIABLES)
def test_leftover_variable_and_https(
    variable: str, gone: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With TLS it is a ConfigError that names the variable, and nothing is sent."""
    monkeypatch.setenv(variable, gone)
    with play(tls=authority().server()) as server, client(server, verify=True) as asker:
        with pytest.raises(ConfigError, match=rf"^{variable}: .*gone\.pem"):
            asker.ai.chat("hi")
        assert server.conns == []


def test_leftover_variable_and_a_given_authority(
    gone: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is no matter either when an authority is given."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", gone)
    with play(answer("safe"), tls=authority().server()) as server:
        assert ask(server).text == "safe"


def test_leftover_variable_and_an_https_proxy(gone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy that is spoken to over TLS needs the bundle, whatever the service speaks."""
    monkeypatch.setenv("SSL_CERT_FILE", gone)
    monkeypatch.setenv("http_proxy", "https://127.0.0.1:1")
    with play() as server, client(server, base_url="http://chat.example/v1") as asker:
        with pytest.raises(ConfigError, match=r"^SSL_CERT_FILE: "):
            asker.ai.chat("hi")


@pytest.mark.parametrize("how", ["verify", "session.verify"])
def test_missing_bundle_in_code(how: str, gone: str) -> None:
    """A bundle that code names and that is not there is refused when the client is made."""
    with requests.Session() as session, play() as server:
        session.verify = gone
        options = {"verify": gone} if how == "verify" else {"session": session, "verify": True}
        with pytest.raises(ConfigError, match=rf"^{how}: .*gone\.pem"):
            client(server, **options)


@pytest.mark.parametrize("source", ["verify", "SSL_CERT_FILE"])
def test_bundle_without_a_certificate(
    source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file without a certificate is a ConfigError at once, which names who named it."""
    (tmp_path / "ca.pem").write_text("this is no certificate\n")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    verify = str(tmp_path / "ca.pem") if source == "verify" else True
    with play(always=Conn.wait_gone, tls=authority().server()) as server:
        with client(server, verify=verify) as asker:
            with pytest.raises(ConfigError, match=rf"^{source}: .*ca\.pem"):
                asker.ai.chat("hi")


def test_https_proxy_of_an_http_service_is_verified() -> None:
    """The key goes to no proxy whose certificate does not hold, also when the service has none."""
    with play(always=Conn.wait_gone, tls=authority("stranger").server()) as proxy:
        with requests.Session() as session:
            session.proxies = {"all": f"https://127.0.0.1:{proxy.port}"}
            options = {"base_url": "http://localhost:1/v1", "session": session}
            with client(proxy, **options) as asker:
                got = listen(lambda: asker.ai.chat_stream("hi"))
        assert proxy.requests == []
    assert type(got.error) is APIConnectionError
    assert "certificate" in str(got.error)


def test_authorities_are_loaded_once_for_all_clients(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bundle takes many times the CPU of a handshake, so no connection loads it again."""
    loaded = []
    load = ssl.SSLContext.load_verify_locations

    def counted(context: ssl.SSLContext, *paths: Any, **options: Any) -> None:
        loaded.append(paths)
        load(context, *paths, **options)

    monkeypatch.setattr(ssl.SSLContext, "load_verify_locations", counted)
    with play(always=answer("safe"), tls=authority("once").server()) as server:
        for _ in range(3):
            with client(server, verify=authority("once").path) as asker:
                for _ in range(2):
                    assert ask(server, through=asker).text == "safe"
    assert len(loaded) == 1


def test_clients_with_authorities_of_their_own_trust_these_alone(tmp_path: Path) -> None:
    """What one client trusts, another does not; a bundle that was replaced is read again."""
    bundle = tmp_path / "ca.pem"
    shutil.copy(authority().path, bundle)
    with play(always=answer("safe"), tls=authority().server()) as server:
        for verify, trusted in (
            (authority().path, True),
            (authority("stranger").path, False),
            (authority().path, True),
            (str(bundle), True),
        ):
            with client(server, verify=verify) as asker:
                assert (ask(server, through=asker).text == "safe") == trusted
        shutil.copy(authority("stranger").path, bundle)
        with client(server, verify=str(bundle)) as asker:
            assert "certificate" in str(ask(server, through=asker).error)


# ------------------------------------------------------------------- the client's own certificate


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    """Certificates and keys of clients, good and bad."""
    one, two = (authority().ca.issue_cert(f"{name}.example") for name in ("one", "two"))
    key = serialization.load_pem_private_key(one.private_key_pem.bytes(), None)
    secret = serialization.BestAvailableEncryption(b"hunter2")
    pem, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    written = {
        "cert": one.cert_chain_pems[0].bytes(),
        "key": one.private_key_pem.bytes(),
        "both": one.private_key_and_cert_chain_pem.bytes(),
        "key with a password": key.private_bytes(pem, form, secret),
        "other key": two.private_key_pem.bytes(),
        "empty": b"",
    }
    for name, data in written.items():
        (tmp_path / name).write_bytes(data)
    paths = {name: str(tmp_path / name) for name in written}
    return {**paths, "gone": str(tmp_path / "gone"), "directory": str(tmp_path)}


def mutual() -> ssl.SSLContext:
    """A server that asks for the client's certificate."""
    context = authority().server()
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(authority().path)
    return context


@pytest.mark.parametrize("names", [("both",), ("cert", "key")])
def test_client_certificate(names: tuple[str, ...], files: dict[str, str]) -> None:
    """A session's client certificate is shown to the server: one file, or a pair."""
    given = [Path(files[name]) for name in names]
    for cert in (tuple(map(str, given)), tuple(given), given):
        with play(answer("known"), tls=mutual()) as server, requests.Session() as session:
            session.cert = cert if len(cert) == 2 else cert[0]  # type: ignore[assignment]  # paths
            with client(server, session=session) as asker:
                assert ask(server, through=asker).text == "known"


BAD = [
    ("gone",), ("cert", "gone"), ("gone", "key"), ("empty",), ("cert",), ("cert", "other key"),
    ("cert", "key with a password"), ("directory",), ("cert", "key", "key"), ("cert", None), (5,),
]  # fmt: skip


@pytest.mark.parametrize("names", BAD, ids=str)
def test_client_certificate_that_cannot_be_used(
    names: tuple[Any, ...], files: dict[str, str]
) -> None:
    """A client certificate that is missing or does not load is a ConfigError at once."""
    given = tuple(files.get(name, name) for name in names)
    with play(tls=mutual()) as server, requests.Session() as session:
        session.cert = given if len(given) > 1 else given[0]  # type: ignore[assignment]  # bad ones
        with client(server, session=session) as asker:
            with pytest.raises(ConfigError, match=r"^session\.cert: "):
                asker.ai.chat("hi")
        assert server.conns == []


def test_client_certificate_and_http(files: dict[str, str]) -> None:
    """A client certificate is no matter where there is no TLS."""
    with play(answer("hi")) as server, requests.Session() as session:
        session.cert = files["gone"]
        with client(server, session=session) as asker:
            assert ask(server, through=asker).text == "hi"


def test_client_certificate_that_vanishes(files: dict[str, str]) -> None:
    """A client certificate that was there and is gone later is a ConfigError then."""
    with play(answer("known"), tls=mutual()) as server, requests.Session() as session:
        session.cert = files["both"]
        with client(server, session=session) as asker:
            assert ask(server, through=asker).text == "known"
            os.unlink(files["both"])
            with pytest.raises(ConfigError, match=r"^session\.cert: "):
                asker.ai.chat("hi")


@pytest.mark.parametrize(
    "look",
    [
        lambda path: trust_of(path, session_verify=True, environment={}).missing,
        lambda path: trust_of(path, session_verify=True, environment={}).broken,
        client_certificate,
    ],
    ids=["missing", "broken", "client certificate"],
)
def test_a_signal_handlers_error_is_not_taken_for_a_missing_file(
    look: Callable[[str], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """os.path.exists() would swallow any OSError."""

    class Late(OSError):
        """A time limit of the user's program."""

    def handler(signum: int, frame: Any) -> None:
        raise Late

    def stat(*args: Any, **kwargs: Any) -> None:
        signal.raise_signal(signal.SIGUSR1)

    old = signal.signal(signal.SIGUSR1, handler)
    try:
        with monkeypatch.context() as patch, pytest.raises(Late):
            patch.setattr(os, "stat", stat)
            look(__file__)
    finally:
        signal.signal(signal.SIGUSR1, old)
