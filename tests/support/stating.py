"""A cluster-state-service as a process of its own, against a simulated AWS in a test's thread."""

import http.client
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from blox.settings import Assumptions
from support.processes import free_port, running
from support.scheduling import QUEUE, SHORT, Service, SimulatedWorld, environment_of

REAL: Final = "blox.cli.state_service"
"""The module of the real command, with its real waits."""


class StateService(Service):
    """A cluster-state-service that runs."""

    def wait_swept(self, *clusters: str, within: float = 20.0) -> "StateService":
        """Wait until these clusters have been read completely by this process."""

        def holds(page: Any) -> bool:
            primed = {c["name"] for c in page["items"] if c["primed"]}
            return set(clusters or ("demo",)) <= primed

        self.wait("/v2/clusters", holds, within=within)
        return self

    def tasks(self, **wanted: str) -> dict[str, Any]:
        """ARN → what /v2 shows of each task, of all pages. `wanted`: filters."""
        return self._listed("tasks", wanted)

    def instances(self, **wanted: str) -> dict[str, Any]:
        """ARN → what /v2 shows of each container instance, of all pages."""
        return self._listed("instances", wanted)

    def live_tasks(self) -> dict[str, str]:
        """ARN → lastStatus of every task that has not ended."""
        shown = {arn: item["task"]["lastStatus"] for arn, item in self.tasks().items()}
        return {arn: status for arn, status in shown.items() if status not in ENDED}

    def swept(self, cluster: str = "demo") -> None:
        """Have a cluster swept from now on, and wait until that is done."""
        ticket = self.ask("POST", f"/v2/clusters/{cluster}/sweep")
        assert ticket.status == 202, ticket.text
        number, epoch = ticket.json["sweep"], ticket.json["epoch"]
        self.wait(
            f"/v2/clusters/{cluster}",
            lambda c: c["sweep"]["epoch"] == epoch and (c["sweep"]["number"] or 0) >= number,
        )

    @contextmanager
    def stream(self, path: str) -> Iterator[http.client.HTTPResponse]:
        """An open stream."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request("GET", path)
            with connection.getresponse() as answer:
                assert answer.status == 200, answer.read()
                yield answer
        finally:
            connection.close()

    def _listed(self, what: str, wanted: Mapping[str, str]) -> dict[str, Any]:
        query = "".join(f"&{name}={value}" for name, value in wanted.items())
        found: dict[str, Any] = {}
        token = ""
        while True:
            page = self.get(f"/v2/{what}?limit=500{query}{token}")
            found.update({item["arn"]: item for item in page["items"]})
            if not page.get("nextToken"):
                return found
            token = f"&nextToken={page['nextToken']}"


ENDED: Final = ("STOPPED", "DELETED")


@contextmanager
def state_service(
    world: SimulatedWorld,
    folder: Path,
    *flags: str,
    module: str = "support.quick_state_service",
    queue: str | None = QUEUE,
    store: str = "state.db",
    assumptions: Assumptions = SHORT,
    without: Sequence[str] = (),
    variables: Mapping[str, str] | None = None,
    port: int | None = None,
) -> Iterator[StateService]:
    """A cluster-state-service with its store in `folder`; killed at the end.

    `module`: `REAL` is the real one, with real waits. `without`: variables that it does not get.
    `port`: any that is free without.
    """
    port = free_port() if port is None else port
    arguments = ["-m", module, "--bind", f"127.0.0.1:{port}", "--store", f"sqlite:{folder / store}"]
    if queue is not None:
        arguments += ["--queue", queue]
    environment = environment_of(world, assumptions=assumptions) | dict(variables or {})
    environment = {name: value for name, value in environment.items() if name not in without}
    output = folder / f"state-service-{port}.log"
    with running([*arguments, *flags], output=output, environment=environment) as process:
        yield StateService(process, port)
