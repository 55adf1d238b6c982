"""A simulated AWS on a free port, with synchronous clients in a thread beside it."""

import asyncio
import http.client
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import boto3
from botocore.config import Config

from blox.cli.simulator_client import Simulator
from blox.settings import Assumptions
from blox.simulator.cloud import Cloud
from blox.simulator.server import SimulatedAws, serving

T = TypeVar("T")

REGION = "us-east-1"
ACCOUNT = "111122223333"


class Bench:
    """What a test of the wire holds in its hands. Its methods run beside the server's loop."""

    def __init__(self, url: str, *, access_key: str = "tester", secret: str = "secret") -> None:
        self.url = url
        self.access_key = access_key
        self.secret = secret
        self.control = Simulator(url)
        self._clients: list[Any] = []

    def client(self, service: str, **config: Any) -> Any:
        """A boto3 client that sends each request once."""
        made = boto3.client(
            service,
            endpoint_url=self.url,
            region_name=REGION,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret,
            config=Config(retries={"total_max_attempts": 1}, **config),
        )
        self._clients.append(made)
        return made

    def close(self) -> None:
        for client in self._clients:
            client.close()

    def hosts(self, cluster: str = "demo") -> list[Any]:
        """The truth about a cluster's hosts."""
        found = self.control.get("state", {"cluster": cluster})["clusters"][cluster]["hosts"]
        assert isinstance(found, list)
        return found

    def arns(self) -> list[str]:
        return [host["containerInstanceArn"] for host in self.hosts()]

    def live(self) -> list[Any]:
        """Every live task, in truth."""
        return [task for host in self.hosts() for task in host["tasks"]]

    def raw(
        self,
        target: str,
        body: bytes = b"{}",
        *,
        headers: Mapping[str, str] | None = None,
        path: str = "/",
        method: str = "POST",
    ) -> tuple[int, dict[str, str], bytes]:
        """One HTTP request as it stands: status, headers in lower case, body."""
        host = self.url.removeprefix("http://")
        connection = http.client.HTTPConnection(host, timeout=30)
        try:
            given = {"X-Amz-Target": target} if target else {}
            connection.request(method, path, body, {**given, **(headers or {})})
            answer = connection.getresponse()
            found = {name.lower(): value for name, value in answer.getheaders()}
            return answer.status, found, answer.read()
        finally:
            connection.close()


def events_of(messages: list[Any]) -> list[Any]:
    """The events in received messages."""
    return [json.loads(message["Body"]) for message in messages]


def on_a_bench(
    work: Callable[[Bench], T],
    *,
    hosts: int = 3,
    assumptions: Assumptions | None = None,
    secrets: Mapping[str, str] | None = None,
    ahead: float = 0.0,
    service_delay: float = 0.3,
    role: str = "",
    streams: Sequence[str] = (),
    meanwhile: Callable[[SimulatedAws], None] | None = None,
) -> T:
    """Serve a cloud with a cluster `demo`, definition `sleep:1`, queue `events` and `streams`, and
    run `work` in a thread. `meanwhile` gets the server, before anything is asked of it."""

    async def serve() -> T:
        cloud = Cloud("wire", assumptions=assumptions, service_delay=service_delay)
        async with serving(
            cloud, queues=["events"], streams=streams, secrets=secrets, ahead=ahead, role=role
        ) as server:
            now = server.now()
            cloud.add_cluster("demo", now=now)
            cloud.add_definition("sleep", now=now, cpu=16, memory=32, stop_timeout=1)
            for _ in range(hosts):
                cloud.add_host("demo", now=now)
            server.pump()
            if meanwhile is not None:
                meanwhile(server)
            bench = Bench(server.url)
            try:
                return await asyncio.to_thread(work, bench)
            finally:
                bench.close()

    return asyncio.run(serve())
