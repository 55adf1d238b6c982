"""The simulated cloud over HTTP: ECS, SQS, EventBridge, Kinesis, IAM and STS on one loopback port.

Each in its real protocol: ECS, SQS, EventBridge and Kinesis are told apart by `X-Amz-Target`, IAM
and STS by their forms; what begins with `/_control` is for people and tests
(`blox.simulator.control`). Real time is the cloud's time: whatever is due happens by itself, and
every event goes at once into each queue and stream that the EventBridge rule feeds
(`blox.simulator.eventbridge`).

    async with serving(cloud, queues=["blox"]) as server:
        ...  # boto3, the aws command or blox itself, against server.url

Everything runs on one event loop and nothing inside it blocks. A long poll costs one future and one
timer. A call is executed at one instant: only the waits that a fault asks for lie before and after.
"""

import asyncio
import functools
import random
import socket
import time
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final

import msgspec
from aiohttp import web

from blox.simulator import access, wire_iam, wire_sts
from blox.simulator.cloud import Cloud
from blox.simulator.control import Control
from blox.simulator.eventbridge import EventBus
from blox.simulator.kinesis import Streams
from blox.simulator.model import Fault, Json, SignatureCheck
from blox.simulator.sqs import Queues, event_body
from blox.simulator.sqs_shapes import QueueFault
from blox.simulator.wire_answers import Answer, content_type, error_answer, json_object, refusal
from blox.simulator.wire_faults import QUIET, FaultBook, Strike, deliveries
from blox.simulator.wire_signature import BadSignature, Received, Signed, check_age, parse, verify

_ECS: Final = "AmazonEC2ContainerServiceV20141113."
_SQS: Final = "AmazonSQS."
_EVENTS: Final = "AWSEvents."
_KINESIS: Final = "Kinesis_20131202."
_TARGETS: Final = ((_ECS, "ecs"), (_SQS, "sqs"), (_EVENTS, "events"), (_KINESIS, "kinesis"))
_IAM_REGION: Final = "us-east-1"
"""IAM is global: its calls are signed for this region
(https://docs.aws.amazon.com/general/latest/gr/iam-service.html). At an endpoint that was put in
its place, AWS's own tools sign for the region that they are set to."""
_OTHERS_AGE: Final = 300.0
"""How old a signature the services beside ECS accept; S is about ECS alone."""
_SUSPENDED: Final = 1.0
_THROTTLES: Final = {
    "kinesis": "ProvisionedThroughputExceededException",
    "sqs": "RequestThrottled",
}
_BODY_LIMIT: Final = 4_194_304


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """One request of one AWS service, its signature checked but not its age."""

    service: str
    operation: str
    body: bytes
    base: str
    """The address that the caller used: `http://127.0.0.1:4566`."""
    signed: Signed
    request: web.BaseRequest


class _Dropped(Exception):
    """The connection is cut instead of an answer."""


class SimulatedAws:
    """The server. `serving` starts one."""

    def __init__(
        self,
        cloud: Cloud,
        *,
        queues: Queues,
        secrets: Mapping[str, str] | None = None,
        ahead: float = 0.0,
        seed: int | str = 0,
        role: str = "",
    ) -> None:
        """`secrets`: access key → secret key; with it every signature is verified, without only
        its form and age are. `ahead`: how far the cloud's clock is ahead of this machine's, in
        seconds. `role`: callers are sessions of this role; "": they are users."""
        self.cloud = cloud
        self.queues = queues
        self.book = FaultBook()
        self.routes: list[str] = []
        """Names of the queues that the EventBridge rule feeds."""
        self.streams = Streams(account=queues.account, region=queues.region)
        self.stream_routes: list[str] = []
        """Names of the Kinesis streams that it feeds."""
        self.bus = EventBus(
            account=queues.account,
            region=queues.region,
            routes=self.routes,
            streams=self.stream_routes,
        )
        self.url = ""
        self._secrets = secrets
        self._ahead = ahead
        self._role = role
        self._origin = time.time() + ahead - time.monotonic()
        self._random = random.Random(seed)
        self._waiters: dict[str, dict[asyncio.Future[None], None]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._timer_due = 0.0
        self._closing = False
        self._date = (0, "")
        self._control = Control(
            cloud,
            queues=queues,
            book=self.book,
            routes=self.routes,
            bus=self.bus,
            now=self.now,
            polls=lambda name: len(self._waiters.get(name, ())),
            streams=self.streams,
            stream_routes=self.stream_routes,
        )

    def now(self) -> float:
        """The cloud's clock, seconds since 1970-01-01 UTC. Never goes back: it runs with the
        monotonic clock, and follows the wall clock only forward (this machine was suspended)."""
        monotonic, wall = time.monotonic(), time.time() + self._ahead
        if wall > self._origin + monotonic + _SUSPENDED:
            self._origin = wall - monotonic
        return self._origin + monotonic

    # --- The passing of time ---------------------------------------------------------------------

    def pump(self) -> None:
        """Let happen what is due, hand out its events, and come back when the next thing is due."""
        now = self.now()
        self.cloud.advance(now)
        self._route(now)
        due = self.cloud.next_due()
        if self._timer is not None:
            if due is not None and self._timer_due <= due and self._timer_due > now:
                return
            self._timer.cancel()
            self._timer = None
        if due is not None and not self._closing:
            loop = asyncio.get_running_loop()
            self._timer_due = due
            self._timer = loop.call_later(max(0.0, due - now), self._tick)

    def _tick(self) -> None:
        self._timer = None
        self.pump()

    def _route(self, now: float) -> None:
        for event in self.cloud.take_events():
            self._deliver(event, now)

    def _deliver(self, event: Json, now: float) -> None:
        """What the EventBridge rule does with one event."""
        names, streams = self.bus.targets(event), self.bus.target_streams(event)
        body = event_body(event) if names or streams else ""
        for name in names:
            queue = self.queues.named(name)
            if queue is not None:
                for delay in deliveries(self.cloud.faults, self._random):
                    queue.send(body, now=now, delay=delay)
                self._wake(name)
        for name in streams:
            for delay in deliveries(self.cloud.faults, self._random):
                put = functools.partial(self._put, name, body, key=str(event["id"]))
                asyncio.get_running_loop().call_later(delay, put) if delay else put()

    def _put(self, name: str, body: str, *, key: str) -> None:
        """An event enters a stream. EventBridge's partition key is the event's id unless the target
        says otherwise.
        https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_KinesisParameters.html"""
        stream = self.streams.named(name)
        if stream is not None:
            stream.put(body.encode(), partition_key=key, now=self.now())

    def _wake(self, name: str) -> None:
        for waiter in self._waiters.get(name, ()):
            if not waiter.done():
                waiter.set_result(None)

    def close(self) -> None:
        """Stop the timer and answer every long poll."""
        self._closing = True
        if self._timer is not None:
            self._timer.cancel()
        for name in self._waiters:
            self._wake(name)

    # --- HTTP ------------------------------------------------------------------------------------

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one HTTP request, whatever it is for."""
        body = await _body(request)
        if request.path == "/_control" or request.path.startswith("/_control/"):
            status, text = self._control.answer(
                request.method,
                request.path_qs,
                body,
                host=request.host,
                origin=request.headers.get("Origin", ""),
            )
            self.pump()
            return web.Response(status=status, body=text, content_type="application/json")
        if request.method != "POST":
            return web.Response(
                text="The simulated AWS of blox: ECS, SQS, EventBridge, Kinesis, IAM and STS. "
                "State: GET /_control/state\n"
            )
        try:
            return await self._aws(request, body)
        except _Dropped:
            if request.transport is not None:
                request.transport.abort()
            return web.Response(status=500)

    async def _aws(self, request: web.BaseRequest, body: bytes) -> web.Response:
        target = request.headers.get("X-Amz-Target", "")
        service, operation = _addressee(target, body)
        if not service:
            answer = error_answer(
                "ecs", "UnknownOperationException", f"The simulated AWS has no {target}.", 404
            )
            return self._response("ecs", answer)
        try:
            call = self._authenticated(request, service, operation, body)
        except BadSignature as error:
            return self._response(service, refusal(service, error))
        answer = await self._faulty(call)
        return self._response(service, answer)

    def _authenticated(
        self, request: web.BaseRequest, service: str, operation: str, body: bytes
    ) -> Call:
        received = Received(
            method=request.method,
            path=request.path,
            query=request.query_string,
            headers={name.lower(): value for name, value in request.headers.items()},
            body=body,
        )
        try:
            signed = parse(received, service=service, region=self.queues.region)
        except BadSignature:
            if service != "iam":
                raise
            signed = parse(received, service=service, region=_IAM_REGION)
        if self._secrets is not None:
            verify(signed, received, secrets=self._secrets)
        return Call(
            service=service,
            operation=operation,
            body=body,
            base=f"http://{request.host}",
            signed=signed,
            request=request,
        )

    def _response(self, service: str, answer: Answer) -> web.Response:
        headers = {
            "Content-Type": content_type(service),
            "Date": self._date_header(),
        }
        if answer.request_id:
            headers["x-amzn-requestid"] = answer.request_id
        if answer.query_error:
            headers["x-amzn-query-error"] = answer.query_error
        return web.Response(status=answer.status, body=answer.body, headers=headers)

    def _date_header(self) -> str:
        second = int(self.now())
        if self._date[0] != second:
            text = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(second))
            self._date = (second, text)
        return self._date[1]

    # --- Faults ----------------------------------------------------------------------------------

    async def _faulty(self, call: Call) -> Answer:
        """Execute a call, with what the faults in force do to it before and after."""
        strike = self.book.strike(call.service, call.operation, draw=self._random.random)
        if strike is QUIET:
            return await self._execute(call, strike)
        if strike.late:
            await asyncio.sleep(strike.late)
        if strike.outcome != "answer" and strike.stage == "before":
            return self._struck(call, strike)
        answer = await self._execute(call, strike)
        if strike.delay:
            await asyncio.sleep(strike.delay)
        if strike.outcome != "answer":
            return self._struck(call, strike, done=answer)
        return answer

    def _struck(self, call: Call, strike: Strike, *, done: Answer | None = None) -> Answer:
        if strike.outcome == "drop":
            raise _Dropped
        request_id = done.request_id if done is not None else str(uuid.uuid4())
        if strike.outcome == "anonymous":
            return Answer(status=200, body=b"<html>Bad gateway</html>", request_id="")
        if strike.outcome == "garble":
            body = done.body if done is not None else b'{"tasks": [{"taskArn"'
            return Answer(status=200, body=body[: len(body) // 2], request_id=request_id)
        if strike.outcome == "throttle":
            code = _THROTTLES.get(call.service, "ThrottlingException")
            return error_answer(call.service, code, "Rate exceeded", 400)
        return error_answer(
            call.service, strike.code, strike.message, strike.status, request_id=request_id
        )

    # --- The services ----------------------------------------------------------------------------

    async def _execute(self, call: Call, strike: Strike) -> Answer:
        if call.service == "ecs":
            return await self._ecs(call, strike)
        try:
            if self.cloud.switches.signature is not SignatureCheck.OFF:
                check_age(call.signed, now=self.now(), allowed=_OTHERS_AGE)
            action = access.action_of(call.service, call.operation)
            if call.service != "sts" and self.cloud.denies(action):
                raise self.cloud.denial(action)
            if call.service == "sqs":
                return await self._sqs(call)
            if call.service == "events":
                return self._eventbridge(call)
            if call.service == "kinesis":
                return self._kinesis(call)
            return self._iam(call) if call.service == "iam" else self._sts(call)
        except (BadSignature, QueueFault, Fault) as error:
            return refusal(call.service, error)

    async def _ecs(self, call: Call, strike: Strike) -> Answer:
        try:
            params = json_object(call.body)
        except QueueFault as error:
            return refusal("ecs", error)
        now = self.now()
        due = self.cloud.next_due()
        if due is not None and due <= now:
            self.pump()
        request_id = ""
        try:
            if strike.slow or strike.stage == "accepted":
                result, request_id = await self._later(call, params, strike)
            else:
                result = self.cloud.call(
                    call.operation,
                    params,
                    now=now,
                    signed_at=call.signed.signed_at,
                    caller=call.signed.access_key,
                )
                request_id = self.cloud.last_request_id()
        except Fault as fault:
            request_id = request_id or self.cloud.last_request_id()
            return error_answer(
                "ecs", fault.code, fault.message, fault.status, request_id=request_id
            )
        finally:
            self.pump()
        return Answer(status=200, body=msgspec.json.encode(result), request_id=request_id)

    async def _later(self, call: Call, params: Json, strike: Strike) -> tuple[Json, str]:
        """Accepted now, executed `slow` seconds later, whatever becomes of the connection."""
        now = self.now()
        ticket = self.cloud.execute_later(
            call.operation,
            params,
            now=now,
            due=now + strike.slow,
            signed_at=call.signed.signed_at,
            caller=call.signed.access_key,
        )
        self.pump()
        if strike.stage == "accepted":
            return {}, ticket.request_id
        while not ticket.done:
            await asyncio.sleep(max(0.0, ticket.due - self.now()))
            self.pump()
        return ticket.result(), ticket.request_id

    async def _sqs(self, call: Call) -> Answer:
        params = json_object(call.body)
        if call.operation == "ReceiveMessage":
            result = await self._receive(call, params)
        else:
            result = self.queues.call(call.operation, params, now=self.now(), base=call.base)
            url = params.get("QueueUrl")
            if isinstance(url, str):
                self._wake(url.rsplit("/", 1)[-1])
        return Answer(status=200, body=msgspec.json.encode(result), request_id=str(uuid.uuid4()))

    async def _receive(self, call: Call, params: Json) -> Json:
        """Long polling: at once if there are messages, else when one comes, else empty."""
        queue, wait = self.queues.patience(params)
        deadline = self.now() + wait
        while True:
            if call.request.transport is None or call.request.transport.is_closing():
                raise _Dropped
            now = self.now()
            result = self.queues.call("ReceiveMessage", params, now=now, base=call.base)
            if result or now >= deadline or self._closing:
                return result
            again = queue.next_visible()
            until = deadline if again is None else min(deadline, again)
            await self._wait(queue.name, max(0.0, until - now))

    async def _wait(self, name: str, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[None] = loop.create_future()
        timer = loop.call_later(seconds, lambda: None if waiter.done() else waiter.set_result(None))
        waiters = self._waiters.setdefault(name, {})
        waiters[waiter] = None
        try:
            await waiter
        finally:
            timer.cancel()
            del waiters[waiter]

    def _eventbridge(self, call: Call) -> Answer:
        now = self.now()
        self.pump()
        result = self.bus.call(
            call.operation,
            json_object(call.body),
            now=now,
            new_id=uuid.uuid4,
            emit=lambda event: self._deliver(event, now),
        )
        return Answer(status=200, body=msgspec.json.encode(result), request_id=str(uuid.uuid4()))

    def _kinesis(self, call: Call) -> Answer:
        self.pump()
        result = self.streams.call(call.operation, json_object(call.body), now=self.now())
        return Answer(status=200, body=msgspec.json.encode(result), request_id=str(uuid.uuid4()))

    def _iam(self, call: Call) -> Answer:
        request_id = str(uuid.uuid4())
        if call.operation != "SimulatePrincipalPolicy":
            name = call.operation or "an operation without a name"
            raise Fault("InvalidAction", f"The simulated IAM has no {name}.")
        body = wire_iam.simulate(
            wire_iam.form_of(call.body),
            account=self.queues.account,
            denies=self.cloud.denies,
            request_id=request_id,
        )
        return Answer(status=200, body=body, request_id=request_id)

    def _sts(self, call: Call) -> Answer:
        request_id = str(uuid.uuid4())
        if call.operation != "GetCallerIdentity":
            name = call.operation or "an operation without a name"
            return error_answer("sts", "InvalidAction", f"The simulated STS has no {name}.", 400)
        body = wire_sts.caller_identity(
            account=self.queues.account,
            access_key=call.signed.access_key,
            role=self._role,
            request_id=request_id,
        )
        return Answer(status=200, body=body, request_id=request_id)


def _addressee(target: str, body: bytes) -> tuple[str, str]:
    """(service, operation) that a request is for, by its `X-Amz-Target` or its form; service "":
    no service that is simulated."""
    for prefix, service in _TARGETS:
        if target.startswith(prefix):
            return service, target.removeprefix(prefix)
    if target:
        return "", ""
    form = wire_iam.form_of(body)
    service = "iam" if form.get("Version") == wire_iam.VERSION else "sts"
    return service, form.get("Action", "")


async def _body(request: web.BaseRequest) -> bytes:
    parts: list[bytes] = []
    size = 0
    while chunk := await request.content.readany():
        size += len(chunk)
        if size > _BODY_LIMIT:
            raise web.HTTPRequestEntityTooLarge(max_size=_BODY_LIMIT, actual_size=size)
        parts.append(chunk)
    return b"".join(parts)


def loopback_socket(host: str, port: int) -> socket.socket:
    """A bound socket on this machine's loopback interface; port 0 takes a free one.

    Raises ValueError for any other address: the simulator believes everybody, so nobody else may
    reach it. Raises OSError when the port is taken.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    if host not in ("localhost", "::1") and not host.startswith("127."):
        raise ValueError(
            "The simulated AWS listens on loopback only (127.0.0.1, ::1, localhost), not on "
            f"{host}."
        )
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(("127.0.0.1" if host == "localhost" else host, port))
    except OSError:
        bound.close()
        raise
    return bound


@asynccontextmanager
async def serving(
    cloud: Cloud,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    queues: Sequence[str] = (),
    streams: Sequence[str] = (),
    account: str = "111122223333",
    region: str = "us-east-1",
    secrets: Mapping[str, str] | None = None,
    ahead: float = 0.0,
    seed: int | str = 0,
    role: str = "",
) -> AsyncIterator[SimulatedAws]:
    """Serve `cloud` while the block runs. `queues` and `streams` are made, the streams with two
    shards each, and the EventBridge rule feeds them all.

    `account` and `region` must be the cloud's own. Raises ValueError for an address that is not
    loopback, OSError when the port is taken.
    """
    bound = loopback_socket(host, port)
    server = SimulatedAws(
        cloud,
        queues=Queues(account=account, region=region),
        secrets=secrets,
        ahead=ahead,
        seed=seed,
        role=role,
    )
    shown = f"[{host}]" if ":" in host else host
    server.url = f"http://{shown}:{bound.getsockname()[1]}"
    for name in queues:
        policy = {"Policy": server.bus.queue_policy(name)}
        created = {"QueueName": name, "Attributes": policy}
        server.queues.call("CreateQueue", created, now=server.now(), base=server.url)
        server.routes.append(name)
    for name in streams:
        server.streams.call("CreateStream", {"StreamName": name, "ShardCount": 2}, now=server.now())
        server.stream_routes.append(name)
    runner = web.ServerRunner(web.Server(server.handle, access_log=None), shutdown_timeout=1.0)
    try:
        await runner.setup()
        await web.SockSite(runner, bound, backlog=1_024).start()
        server.pump()
        yield server
    finally:
        server.close()
        await runner.cleanup()
        bound.close()
