"""Real HTTP to AWS: one POST for each call, sent once.

What a general HTTP client does to be helpful would start daemons twice: resend on a dropped
connection, follow a redirect with the same body, reuse a connection that has just failed. None of
it happens here. And the signature, which is the fence (R3), is made as late as possible:

    credentials → connection up → date and sign → permit → bytes

aiohttp builds a request's headers before it connects. `_SignedRequest.send` runs after the
connection is up and before headers are serialised; it is where signing, the permit and the note
"from here on it may have happened" take place. On Python 3.11 the bytes leave one turn of the loop
later; what happens in between is caught by the age that ECS allows a signature.
"""

import os
import re
import ssl
import urllib.request
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

import aiohttp
from yarl import URL

import blox
from blox.base.ambient import Clock
from blox.ecs.credentials import CredentialSource
from blox.ecs.port import Lost, NotSent, Permit, WireAnswer
from blox.ecs.signature import Credentials, sign

CONNECT_TIMEOUT: Final = 10.0
FRESH: Final = 2.0
"""An idle connection may serve an act for so long; one idle longer may be dead already."""
IDLE: Final = 15.0
"""Likewise for reads, which can be asked again."""
CONNECTIONS: Final = 256
LARGEST_ANSWER: Final = 64 * 1024 * 1024


class Service(NamedTuple):
    """How one AWS service is spoken to."""

    name: str
    """In the signature and in endpoints."""
    content_type: str
    target: str | None
    """The prefix of X-Amz-Target; None for services whose body names the operation."""


ECS: Final = Service("ecs", "application/x-amz-json-1.1", "AmazonEC2ContainerServiceV20141113")
SQS: Final = Service("sqs", "application/x-amz-json-1.0", "AmazonSQS")
EVENTS: Final = Service("events", "application/x-amz-json-1.1", "AWSEvents")
KINESIS: Final = Service("kinesis", "application/x-amz-json-1.1", "Kinesis_20131202")
STS: Final = Service("sts", "application/x-www-form-urlencoded; charset=utf-8", None)
IAM: Final = Service("iam", "application/x-www-form-urlencoded; charset=utf-8", None)


class _Exchange:
    """One request on its way through aiohttp."""

    def __init__(
        self,
        payload: bytes,
        credentials: Credentials,
        *,
        service: str,
        region: str,
        clock: Clock,
        date: Callable[[], float],
        permit: Permit | None,
    ) -> None:
        self.payload = payload
        self.credentials = credentials
        self.service = service
        self.region = region
        self.clock = clock
        self.date = date
        self.permit = permit
        self.signed_at = 0.0
        self.begun = 0.0
        self.left = False

    def depart(self, request: aiohttp.ClientRequest) -> None:
        """Date, sign, ask for the permit. Raises NotSent when it is refused.

        Signed are only the headers that AWS demands: a proxy may change the others.
        """
        self.signed_at = self.clock.monotonic()
        date = self.date()
        request.headers.update(
            sign(
                {
                    name: value
                    for name, value in request.headers.items()
                    if name.lower() == "content-type" or name.lower().startswith("x-amz-")
                },
                host=request.headers["Host"],
                payload=self.payload,
                date=date,
                credentials=self.credentials,
                region=self.region,
                service=self.service,
                path=request.url.raw_path,
            )
        )
        refusal = self.permit() if self.permit is not None else None
        if refusal is not None:
            raise NotSent("permit", refusal)
        self.begun = self.clock.monotonic()
        self.left = True

    async def attach(
        self,
        request: aiohttp.ClientRequest,
        handler: aiohttp.client_middlewares.ClientHandlerType,
    ) -> aiohttp.ClientResponse:
        """Tie this exchange to its request before aiohttp connects (a client middleware)."""
        if isinstance(request, _SignedRequest):
            request.exchange = self
        return await handler(request)


class _SignedRequest(aiohttp.ClientRequest):
    """A request that is signed when its connection is up."""

    exchange: _Exchange | None = None

    async def send(self, conn: "aiohttp.connector.Connection") -> aiohttp.ClientResponse:
        if self.exchange is None:
            raise NotSent("connect", "a request that nobody signs was about to leave")
        self.exchange.depart(self)
        return await super().send(conn)


class AwsHttp:
    """A `Transport` to one service in one region.

    Reads and acts have pools of their own, so that an act never waits behind reads and gets only
    connections that were used within the last two seconds. Proxies are those of HTTPS_PROXY,
    HTTP_PROXY and NO_PROXY when this is made; ~/.netrc is not read. AWS_CA_BUNDLE names
    certificates to trust instead of the system's.
    """

    def __init__(
        self,
        service: Service,
        *,
        region: str,
        endpoint: str,
        credentials: CredentialSource,
        clock: Clock,
        timeout: float = 90.0,
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        """`timeout`: seconds for a whole call, credentials apart; callers usually have their own,
        shorter one."""
        self._service = service
        self._region = region
        base = URL(endpoint)
        self._url = base.with_path(base.path.rstrip("/") + "/")
        self._credentials = credentials
        self._clock = clock
        self._timeout = aiohttp.ClientTimeout(total=timeout, sock_connect=CONNECT_TIMEOUT)
        self._proxy = _proxy_for(self._url)
        self._ca_bundle = environ.get("AWS_CA_BUNDLE", "").strip() or None
        self._sessions: dict[bool, aiohttp.ClientSession] = {}

    async def send(
        self,
        operation: str,
        body: bytes,
        *,
        date: Callable[[], float],
        permit: Permit | None = None,
        fresh: bool = False,
    ) -> WireAnswer:
        exchange = _Exchange(
            body,
            await self._credentials.get(),
            service=self._service.name,
            region=self._region,
            clock=self._clock,
            date=date,
            permit=permit,
        )
        try:
            return await self._post(operation, exchange, fresh=fresh)
        except NotSent:
            raise
        except Exception as error:
            cause = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
            if exchange.left:
                raise Lost(cause, signed_at=exchange.signed_at) from error
            tls = isinstance(error, aiohttp.ClientSSLError | ssl.SSLError)
            raise NotSent("tls" if tls else "connect", cause) from error

    async def _post(self, operation: str, exchange: _Exchange, *, fresh: bool) -> WireAnswer:
        headers = {"Content-Type": self._service.content_type, "Accept-Encoding": "identity"}
        if self._service.target is not None:
            headers["X-Amz-Target"] = f"{self._service.target}.{operation}"
        response = await self._session(fresh=fresh).post(
            self._url,
            data=exchange.payload,
            headers=headers,
            allow_redirects=False,
            proxy=self._proxy,
            middlewares=(exchange.attach,),
        )
        try:
            body = await _whole(response)
        except BaseException:
            response.close()
            raise
        response.release()
        return WireAnswer(
            status=response.status,
            headers={name.lower(): value for name, value in response.headers.items()},
            body=body,
            begun=exchange.begun,
            signed_at=exchange.signed_at,
            signer=exchange.credentials.access_key,
        )

    def _session(self, *, fresh: bool) -> aiohttp.ClientSession:
        session = self._sessions.get(fresh)
        if session is None:
            trust: ssl.SSLContext | bool = True
            if self._ca_bundle is not None:
                trust = ssl.create_default_context(cafile=self._ca_bundle)
            connector = aiohttp.TCPConnector(
                limit=CONNECTIONS, keepalive_timeout=FRESH if fresh else IDLE, ssl=trust
            )
            session = self._sessions[fresh] = aiohttp.ClientSession(
                connector=connector,
                request_class=_SignedRequest,
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={"User-Agent": f"blox/{blox.__version__}"},
                timeout=self._timeout,
                trust_env=False,
            )
        return session

    async def close(self) -> None:
        sessions = list(self._sessions.values())
        self._sessions.clear()
        for session in sessions:
            await session.close()


async def _whole(response: aiohttp.ClientResponse) -> bytes:
    """The body, up to a size that no AWS answer has."""
    parts: list[bytes] = []
    size = 0
    async for part in response.content.iter_any():
        size += len(part)
        if size > LARGEST_ANSWER:
            raise aiohttp.ClientPayloadError(f"an answer of more than {LARGEST_ANSWER} bytes")
        parts.append(part)
    return b"".join(parts)


def _proxy_for(url: URL) -> URL | None:
    """The proxy that the environment names for `url`; none for this machine itself."""
    host = url.host or ""
    if host in ("localhost", "::1") or host.startswith("127.") or urllib.request.proxy_bypass(host):
        return None
    proxy = urllib.request.getproxies().get(url.scheme)
    return URL(proxy) if proxy else None


class Identity(NamedTuple):
    """Who the credentials belong to."""

    account: str
    arn: str


GET_CALLER_IDENTITY: Final = b"Action=GetCallerIdentity&Version=2011-06-15"
"""STS's body for it; every caller may ask.
https://docs.aws.amazon.com/STS/latest/APIReference/API_GetCallerIdentity.html"""


def identity_of(answer: WireAnswer) -> Identity | None:
    """What STS's GetCallerIdentity answered; None when it did not."""
    text = answer.body.decode(errors="replace")
    account = re.search(r"<Account>\s*(\d+)\s*</Account>", text)
    arn = re.search(r"<Arn>\s*([^<\s]+)\s*</Arn>", text)
    if answer.status != 200 or account is None:
        return None
    return Identity(account[1], arn[1] if arn else "")
