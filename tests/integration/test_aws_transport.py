"""The real transport against a socket that behaves badly: one request, sent once, signed late."""

import asyncio
import contextlib
import datetime
import ipaddress
import re
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from blox.base.clock import SystemClock
from blox.ecs import aws
from blox.ecs.aws import ECS, GET_CALLER_IDENTITY, SQS, STS, AwsHttp, Identity, Service, identity_of
from blox.ecs.client import EcsClient
from blox.ecs.credentials import CredentialSource, StaticCredentials
from blox.ecs.errors import EcsSilent
from blox.ecs.pacing import Pacer
from blox.ecs.port import InDoubt, Lost, NotDone, NotSent, Started, StartRequest, WireAnswer
from blox.ecs.signature import Credentials, sign
from blox.settings import Assumptions
from support.ecsclients import FAST, allowed

DATE = 1_762_000_000.0
TIME = "Sat, 01 Nov 2025 12:26:40 GMT"
KEYS = StaticCredentials("AKIATEST", "secret", "a-token")


@dataclass
class Arrived:
    """One request as it came in."""

    line: str
    headers: dict[str, str]
    body: bytes


Handler = Callable[["Socket", Arrived | None, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Socket:
    """A server of a few lines, so that its misbehaviour is its own and no library's."""

    port: int = 0
    connections: int = 0
    ended: int = 0
    """Connections that the client closed."""
    arrived: list[Arrived] = field(default_factory=list)
    scheme: str = "http"
    release: asyncio.Event = field(default_factory=asyncio.Event)
    """Set at the end of the test: what hangs may go."""

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}"


def answering(
    status: str = "200 OK",
    body: bytes = b"{}",
    *,
    request_id: str = "r-1",
    extra: tuple[str, ...] = (),
) -> Handler:
    """Answers every request alike."""

    async def handle(_: Socket, arrived: Arrived | None, writer: asyncio.StreamWriter) -> None:
        if arrived is None:
            return
        lines = [f"HTTP/1.1 {status}", f"Date: {TIME}", f"Content-Length: {len(body)}", *extra]
        if request_id:
            lines.append(f"x-amzn-RequestId: {request_id}")
        writer.write("\r\n".join((*lines, "", "")).encode() + body)
        await writer.drain()

    return handle


async def _one(reader: asyncio.StreamReader) -> Arrived | None:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
    except asyncio.IncompleteReadError:
        return None
    line, *rest = head.strip().split("\r\n")
    headers = {name.lower(): value for name, value in (one.split(": ", 1) for one in rest)}
    return Arrived(line, headers, await reader.readexactly(int(headers["content-length"])))


@contextlib.asynccontextmanager
async def listening(
    handler: Handler,
    *,
    on_connect: Handler | None = None,
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[Socket]:
    """Serve `handler` on loopback. `on_connect` runs before anything is read."""
    state = Socket(scheme="http" if tls is None else "https")

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        state.connections += 1
        try:
            if on_connect is not None:
                await on_connect(state, None, writer)
            while not writer.is_closing():
                arrived = await _one(reader)
                if arrived is None:
                    state.ended += 1
                    break
                state.arrived.append(arrived)
                await handler(state, arrived, writer)
        except ConnectionError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    state.port = server.sockets[0].getsockname()[1]
    try:
        yield state
    finally:
        state.release.set()
        server.close()
        await server.wait_closed()


async def drop(_: Socket, __: Arrived | None, writer: asyncio.StreamWriter) -> None:
    """Cut the connection."""
    writer.transport.abort()


async def hang(socket: Socket, _: Arrived | None, __: asyncio.StreamWriter) -> None:
    """Say nothing until the test is over."""
    await socket.release.wait()


async def cut_short(_: Socket, __: Arrived | None, writer: asyncio.StreamWriter) -> None:
    """Promise more than is sent."""
    writer.write(b"HTTP/1.1 200 OK\r\nx-amzn-RequestId: r\r\nContent-Length: 100\r\n\r\n{")
    await writer.drain()
    writer.transport.close()


async def garbage(_: Socket, __: Arrived | None, writer: asyncio.StreamWriter) -> None:
    """Something that is not HTTP."""
    writer.write(b"\x16\x03\x01 no HTTP at all\r\n\r\n")
    await writer.drain()
    writer.close()


@contextlib.asynccontextmanager
async def transport(
    url: str,
    *,
    service: Service = ECS,
    credentials: CredentialSource = KEYS,
    timeout: float = 90.0,
    ca_bundle: str = "",
) -> AsyncIterator[AwsHttp]:
    http = AwsHttp(
        service,
        region="us-east-1",
        endpoint=url,
        credentials=credentials,
        clock=SystemClock(),
        timeout=timeout,
        environ={"AWS_CA_BUNDLE": ca_bundle},
    )
    try:
        yield http
    finally:
        await http.close()


def run(scenario: Coroutine[object, object, None]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(20):
            await scenario

    asyncio.run(bounded())


async def send(http: AwsHttp, body: bytes = b"{}", *, fresh: bool = False) -> WireAnswer:
    return await http.send("StartTask", body, date=lambda: DATE, fresh=fresh)


# --- One request ----------------------------------------------------------------------------------


def test_a_call_is_one_signed_post() -> None:
    async def scenario() -> None:
        handler = answering(body=b'{"tasks": []}')
        async with listening(handler) as socket, transport(socket.url) as http:
            answer = await send(http, b'{"cluster": "demo"}')
        (arrived,) = socket.arrived
        assert arrived.line == "POST / HTTP/1.1"
        assert arrived.body == b'{"cluster": "demo"}'
        target = "AmazonEC2ContainerServiceV20141113.StartTask"
        headers = {"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": target}
        signed = sign(
            headers,
            host=f"127.0.0.1:{socket.port}",
            payload=arrived.body,
            date=DATE,
            credentials=Credentials("AKIATEST", "secret", "a-token"),
            region="us-east-1",
            service="ecs",
        )
        for name, value in (headers | signed).items():
            assert arrived.headers[name.lower()] == value
        assert arrived.headers["user-agent"].startswith("blox/")
        assert (answer.status, answer.body) == (200, b'{"tasks": []}')
        assert answer.headers["x-amzn-requestid"] == "r-1"
        assert answer.signer == "AKIATEST"
        assert answer.signed_at <= answer.begun

    run(scenario())


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_a_redirect_is_an_answer_and_never_followed(code: int) -> None:
    async def scenario() -> None:
        async with listening(answering()) as elsewhere:
            away = answering(f"{code} Away", b"", extra=(f"Location: {elsewhere.url}/",))
            async with listening(away) as socket, transport(socket.url) as http:
                assert (await send(http)).status == code
            assert len(socket.arrived) == 1
            assert elsewhere.connections == 0

    run(scenario())


@pytest.mark.parametrize(
    "handler", [drop, cut_short, garbage], ids=lambda handler: handler.__name__
)
@pytest.mark.parametrize("fresh", [False, True])
def test_after_the_first_byte_a_failure_is_lost_and_not_repeated(
    handler: Handler, fresh: bool
) -> None:
    async def scenario() -> None:
        async with listening(handler) as socket, transport(socket.url) as http:
            with pytest.raises(Lost) as caught:
                await send(http, fresh=fresh)
            assert caught.value.signed_at > 0
            assert len(socket.arrived) == 1
            assert socket.connections == 1

    run(scenario())


def test_a_connection_dropped_between_two_calls_is_lost_too() -> None:
    """The old connection looks alive until it is written to: POST must not be tried again."""

    async def scenario() -> None:
        async def once(
            socket: Socket, arrived: Arrived | None, writer: asyncio.StreamWriter
        ) -> None:
            if len(socket.arrived) == 1:
                await answering()(socket, arrived, writer)
            else:
                writer.transport.abort()

        async with listening(once) as socket, transport(socket.url) as http:
            await send(http)
            with pytest.raises(Lost):
                await send(http)
            assert len(socket.arrived) == 2
            assert socket.connections == 1

    run(scenario())


def test_a_timeout_is_lost_and_its_connection_never_used_again() -> None:
    async def scenario() -> None:
        async def first_hangs(
            socket: Socket, arrived: Arrived | None, writer: asyncio.StreamWriter
        ) -> None:
            if len(socket.arrived) == 1:
                await socket.release.wait()
            await answering()(socket, arrived, writer)

        async with listening(first_hangs) as socket, transport(socket.url, timeout=0.3) as http:
            with pytest.raises(Lost):
                await send(http)
            socket.release.set()
            assert (await send(http)).status == 200
            assert socket.connections == 2
            assert len(socket.arrived) == 2

    run(scenario())


def test_connections_are_shared_by_calls_of_one_kind_only() -> None:
    async def scenario() -> None:
        async with listening(answering()) as socket, transport(socket.url) as http:
            for _ in range(3):
                await send(http)
            assert socket.connections == 1
            for _ in range(3):
                await send(http, fresh=True)
            assert socket.connections == 2

    run(scenario())


def test_an_act_takes_no_connection_that_was_idle_for_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert aws.FRESH == 2.0
    monkeypatch.setattr(aws, "FRESH", 0.05)

    async def scenario() -> None:
        async with listening(answering()) as socket, transport(socket.url) as http:
            await send(http)
            await send(http, fresh=True)
            while not socket.ended:
                await asyncio.sleep(0.01)
            await send(http, fresh=True)
            await send(http)
            assert socket.connections == 3, "one for reads, two for acts"

    run(scenario())


# --- Nothing sent ---------------------------------------------------------------------------------


def test_nothing_listens() -> None:
    async def scenario() -> None:
        async with listening(answering()) as socket:
            url = socket.url
        async with transport(url) as http:
            with pytest.raises(NotSent) as caught:
                await send(http)
        assert caught.value.code == "connect"

    run(scenario())


def test_a_server_that_speaks_no_tls() -> None:
    async def scenario() -> None:
        async def no_tls(_: Socket, __: Arrived | None, writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            await writer.drain()
            writer.close()

        async with listening(answering(), on_connect=no_tls) as socket:
            async with transport(socket.url.replace("http:", "https:")) as http:
                with pytest.raises(NotSent) as caught:
                    await send(http)
            assert caught.value.code in ("tls", "connect")
            assert socket.arrived == []

    run(scenario())


def test_a_refused_permit_sends_no_byte() -> None:
    async def scenario() -> None:
        asked: list[str] = []

        def date() -> float:
            asked.append("date")
            return DATE

        def permit() -> str | None:
            asked.append("permit")
            return "ownership was lost"

        async with listening(answering()) as socket, transport(socket.url) as http:
            with pytest.raises(NotSent) as caught:
                await http.send("StartTask", b"{}", date=date, permit=permit, fresh=True)
            assert (caught.value.code, caught.value.cause) == ("permit", "ownership was lost")
            assert asked == ["date", "permit"]
            assert (await send(http, fresh=True)).status == 200
            assert len(socket.arrived) == 1

    run(scenario())


def test_without_credentials_nobody_even_connects() -> None:
    class NoCredentials:
        async def get(self) -> Credentials:
            raise NotSent("credentials", "no AWS credentials were found")

    async def scenario() -> None:
        async with listening(answering()) as socket:
            async with transport(socket.url, credentials=NoCredentials()) as http:
                with pytest.raises(NotSent) as caught:
                    await send(http)
            assert caught.value.code == "credentials"
            assert socket.connections == 0

    run(scenario())


# --- The order ------------------------------------------------------------------------------------


def test_the_date_is_taken_when_the_connection_is_up() -> None:
    async def scenario() -> None:
        connected: list[int] = []

        async with listening(answering()) as socket, transport(socket.url) as http:

            async def until_accepted() -> None:
                while not socket.connections:
                    await asyncio.sleep(0.01)

            def date() -> float:
                # The kernel completes the handshake before the server accepts: look at our side.
                connected.append(_established_to(socket.port))
                return DATE

            await http.send("StartTask", b"{}", date=date)
            await until_accepted()
        assert connected == [1]

    run(scenario())


def _established_to(port: int) -> int:
    """How many connections of this machine to a loopback port are established."""
    with open("/proc/net/tcp") as table:
        rows = [line.split() for line in table][1:]
    return sum(row[2].endswith(f":{port:04X}") and row[3] == "01" for row in rows)


def test_the_permit_is_asked_after_signing_and_before_sending() -> None:
    async def scenario() -> None:
        order: list[str] = []

        async with listening(answering()) as socket, transport(socket.url) as http:

            def date() -> float:
                order.append("date")
                return DATE

            def permit() -> str | None:
                order.append(f"permit, {len(socket.arrived)} sent")
                return None

            await http.send("StartTask", b"{}", date=date, permit=permit)
        assert order == ["date", "permit, 0 sent"]

    run(scenario())


# --- TLS ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A key and a certificate for 127.0.0.1 that nobody trusts, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "blox test")])
    now = datetime.datetime.now(datetime.UTC)
    day = datetime.timedelta(days=1)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    signed = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - day)
        .not_valid_after(now + day)
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "server.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + signed.public_bytes(serialization.Encoding.PEM)
    )
    return path


def _server_side(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


def test_an_unknown_certificate_stops_everything_before_a_byte(certificate: Path) -> None:
    async def scenario() -> None:
        dated: list[float] = []

        def date() -> float:
            dated.append(DATE)
            return DATE

        tls = _server_side(certificate)
        async with listening(answering(), tls=tls) as socket, transport(socket.url) as http:
            with pytest.raises(NotSent) as caught:
                await http.send("StartTask", b"{}", date=date)
            assert caught.value.code == "tls"
            assert socket.arrived == []
        assert dated == [], "signed before the connection was up"

    run(scenario())


def test_aws_ca_bundle_names_certificates_to_trust(certificate: Path) -> None:
    async def scenario() -> None:
        tls = _server_side(certificate)
        async with listening(answering(), tls=tls) as socket:
            async with transport(socket.url, ca_bundle=str(certificate)) as http:
                assert (await send(http)).status == 200
            assert len(socket.arrived) == 1

    run(scenario())


# --- The client over it ---------------------------------------------------------------------------


def start() -> StartRequest:
    return StartRequest(
        cluster="demo",
        definition="agent:1",
        hosts=("h",),
        started_by="d",
        group="blox:agent",
        intent="01JZ0000000000000000000000",
        first_container="agent",
    )


STARTED = b'{"tasks": [{"taskArn": "t", "containerInstanceArn": "h"}], "failures": []}'


@pytest.mark.parametrize(
    ("handler", "outcome"),
    [
        (answering(body=STARTED), Started),
        (answering(body=STARTED, request_id=""), InDoubt),
        (answering(body=STARTED[:20]), InDoubt),
        (answering(body=b"<html>ok</html>"), InDoubt),
        (answering("307 Temporary Redirect", b"", extra=("Location: /again",)), InDoubt),
        (answering("500 Oops", b'{"__type": "ServerException"}'), InDoubt),
        (answering("503 Oops", b""), InDoubt),
        (answering("400 Bad", b'{"__type": "ThrottlingException"}'), NotDone),
        (answering("400 Bad", b'{"__type": "InvalidParameterException"}'), NotDone),
        (answering("400 Bad", b'{"__type": "x#AccessDeniedException"}', request_id=""), InDoubt),
        (drop, InDoubt),
        (hang, InDoubt),
        (cut_short, InDoubt),
        (garbage, InDoubt),
    ],
)
def test_whatever_happens_a_start_arrives_once(handler: Handler, outcome: type) -> None:
    async def scenario() -> None:
        async def reads_well(
            socket: Socket, arrived: Arrived | None, writer: asyncio.StreamWriter
        ) -> None:
            read = arrived is not None and "DescribeClusters" in arrived.headers["x-amz-target"]
            await (answering() if read else handler)(socket, arrived, writer)

        async with listening(reads_well) as socket, transport(socket.url) as http:
            clock = SystemClock()
            client = EcsClient(
                http,
                clock=clock,
                assumptions=Assumptions(),
                pacer=Pacer(clock, FAST),
                timeout=0.5,
            )
            await client.describe_clusters(["demo"])
            found = await client.start_task(start(), allowed)
            assert isinstance(found, outcome)
            starts = [one for one in socket.arrived if "StartTask" in one.headers["x-amz-target"]]
            assert len(starts) == 1
            stamp = starts[0].headers["x-amz-date"]
            assert re.fullmatch(r"20251101T12224\dZ", stamp), "240 s before the Date of the read"

    run(scenario())


def test_a_read_that_hangs_is_silence() -> None:
    async def scenario() -> None:
        async with listening(hang) as socket, transport(socket.url) as http:
            clock = SystemClock()
            client = EcsClient(
                http,
                clock=clock,
                assumptions=Assumptions(),
                pacer=Pacer(clock, FAST),
                timeout=0.3,
            )
            with pytest.raises(EcsSilent, match="no answer within"):
                await client.describe_clusters(["demo"])
            assert len(socket.arrived) == 1

    run(scenario())


# --- Other services and endpoints -----------------------------------------------------------------


def test_sqs_and_sts_are_spoken_to_in_their_own_way() -> None:
    identity = (
        b"<GetCallerIdentityResponse><GetCallerIdentityResult>"
        b"<Arn>arn:aws:sts::111122223333:assumed-role/blox/i-1</Arn><UserId>X</UserId>"
        b"<Account>111122223333</Account></GetCallerIdentityResult></GetCallerIdentityResponse>"
    )

    async def scenario() -> None:
        async with listening(answering(body=identity)) as socket:
            async with transport(socket.url, service=SQS) as http:
                await http.send("ReceiveMessage", b"{}", date=lambda: DATE)
            async with transport(socket.url, service=STS) as http:
                who = await http.send("GetCallerIdentity", GET_CALLER_IDENTITY, date=lambda: DATE)
        queue, caller = socket.arrived
        assert queue.headers["x-amz-target"] == "AmazonSQS.ReceiveMessage"
        assert queue.headers["content-type"] == "application/x-amz-json-1.0"
        assert "/us-east-1/sqs/" in queue.headers["authorization"]
        assert "x-amz-target" not in caller.headers
        assert caller.headers["content-type"].startswith("application/x-www-form-urlencoded")
        assert "/us-east-1/sts/" in caller.headers["authorization"]
        assert identity_of(who) == Identity(
            "111122223333", "arn:aws:sts::111122223333:assumed-role/blox/i-1"
        )

    run(scenario())


def test_an_endpoint_may_have_a_path() -> None:
    async def scenario() -> None:
        async with listening(answering()) as socket, transport(f"{socket.url}/aws") as http:
            await send(http)
        assert socket.arrived[0].line == "POST /aws/ HTTP/1.1"

    run(scenario())


def test_cookies_and_proxies_for_loopback_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")

    async def scenario() -> None:
        handler = answering(extra=("Set-Cookie: a=b",))
        async with listening(handler) as socket, transport(socket.url) as http:
            await send(http)
            await send(http)
        assert "cookie" not in socket.arrived[1].headers

    run(scenario())


def test_other_hosts_are_reached_through_the_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        async with listening(answering()) as socket:
            monkeypatch.setenv("http_proxy", socket.url)
            monkeypatch.delenv("no_proxy", raising=False)
            monkeypatch.delenv("NO_PROXY", raising=False)
            async with transport("http://ecs.example.test") as http:
                assert (await send(http)).status == 200
        assert socket.arrived[0].line == "POST http://ecs.example.test/ HTTP/1.1"
        assert socket.arrived[0].headers["host"] == "ecs.example.test"

    run(scenario())
