"""Where the server listens: bound before anything else, on loopback unless told otherwise."""

import asyncio
import socket

import pytest

from blox.base.errors import Conflict, InvalidInput
from blox.http.app import create_app
from blox.http.edge import HttpApp
from blox.http.metrics import Metrics
from blox.http.server import (
    Address,
    address_of,
    bind,
    is_local,
    is_loopback,
    parse_address,
    serving,
)
from support.served import run


def nothing_but_probes() -> HttpApp:
    return create_app(
        [],
        title="t",
        version="1",
        ready=lambda: None,
        metrics=Metrics(version="1").render,
        local_only=True,
    )


def test_a_server_that_fails_ends_what_runs_beside_it() -> None:
    listener = bind(parse_address("127.0.0.1:0"))
    listener.close()
    steps: list[str] = []

    async def scene() -> None:
        async with serving(nothing_but_probes(), listener):
            steps.append("began")
            await asyncio.Event().wait()
            steps.append("went on")

    with pytest.raises((OSError, ValueError)):
        run(scene())
    assert steps == ["began"]


def test_a_client_that_comes_before_the_server_waits_and_is_answered() -> None:
    listener = bind(parse_address("127.0.0.1:0"))
    address = address_of(listener)
    early = socket.create_connection((address.host, address.port), timeout=5)
    early.sendall(b"GET /livez HTTP/1.0\r\nhost: localhost\r\n\r\n")

    async def scene() -> bytes:
        async with serving(nothing_but_probes(), listener):
            return await asyncio.to_thread(early.recv, 65536)

    with early, listener:
        assert run(scene()).startswith(b"HTTP/1.1 200 OK")


def test_a_port_in_use_is_told() -> None:
    with (
        bind(parse_address("127.0.0.1:0")) as first,
        pytest.raises(Conflict, match=r"Port \d+ on 127.0.0.1 is in use .* --bind HOST:PORT"),
    ):
        bind(address_of(first))


@pytest.mark.parametrize("text", ["0.0.0.0:0", ":0", "[::]:0"])
def test_listening_beyond_loopback_needs_the_flag_that_names_the_risk(text: str) -> None:
    with pytest.raises(InvalidInput, match="--allow-unauthenticated-network"):
        bind(parse_address(text))


def test_with_the_flag_it_listens_everywhere() -> None:
    with bind(parse_address("0.0.0.0:0"), allow_network=True) as listener:
        assert not is_local(listener)


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("0.0.0.0", False),
        ("::", False),
        ("10.0.0.1", False),
        ("fe80::1%eth0", False),
        ("::ffff:10.0.0.1", False),
    ],
)
def test_which_addresses_only_this_machine_reaches(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback


@pytest.mark.parametrize("text", ["127.0.0.1:0", "127.9.9.9:0", "localhost:0"])
def test_loopback_needs_no_flag(text: str) -> None:
    with bind(parse_address(text)) as listener:
        assert is_local(listener)
        assert address_of(listener).port > 0


def test_an_address_that_is_not_this_machines_is_told() -> None:
    with pytest.raises(InvalidInput, match="this machine has no such address"):
        bind(parse_address("192.0.2.1:0"), allow_network=True)
    with pytest.raises(InvalidInput, match="is not known here"):
        bind(parse_address("no-such-host.invalid:0"), allow_network=True)


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("127.0.0.1:2000", "127.0.0.1", 2000),
        ("[::1]:2000", "::1", 2000),
        (" localhost:0 ", "localhost", 0),
        (":2000", "", 2000),
    ],
)
def test_addresses(text: str, host: str, port: int) -> None:
    address = parse_address(text)

    assert address == (host, port)
    assert parse_address(str(address)) == address


@pytest.mark.parametrize(
    "text", ["", "2000", "localhost", "a:b", "::1:2000", "[x]:1", "a:65536", "a:-1", "a:٣", "a:"]
)
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(InvalidInput, match=r"no address to listen on|brackets"):
        parse_address(text)


def test_an_address_prints_as_it_is_typed() -> None:
    assert str(Address("::1", 2000)) == "[::1]:2000"
