"""A cluster as one finds it: agents run by DAEMON services, by hand and not at all.

`found_cluster` makes `payments-dev`, of 16 hosts that registered long ago: 11 of x86_64 and 5 of
arm64, one of them draining and two with the agent gone.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Final, TypeVar

from blox.simulator.cloud import Cloud
from blox.simulator.server import SimulatedAws, serving
from support.simulated import REGION

T = TypeVar("T")

CLUSTER: Final = "payments-dev"
DAY: Final = 86_400.0
AMI_ARM: Final = "ami-0f3c0f3c0f3c0f3c0"


class FoundCluster:
    """What there is, by the role that it plays."""

    def __init__(self, cloud: Cloud, *, now: float) -> None:
        self.cloud = cloud
        self.now = now
        began = now - 19 * DAY
        cloud.add_cluster(CLUSTER, now=began)
        cloud.add_definition("fluent-bit", now=began, cpu=64, memory=128)
        cloud.add_definition("dd-agent", now=began, cpu=128, memory=512)
        cloud.add_definition("falcon", now=began, cpu=64, memory=256, architecture="X86_64")
        cloud.add_definition("api", now=began, cpu=256, memory=1024)
        cloud.add_definition("cache", now=began, cpu=64, memory=430)
        self.x86 = [cloud.add_host(CLUSTER, now=began, memory=4096) for _ in range(11)]
        self.arm = [
            cloud.add_host(
                CLUSTER, now=began, memory=4096, arch="arm64", attributes={"ecs.ami-id": AMI_ARM}
            )
            for _ in range(5)
        ]
        self.gone = self.x86[:2]
        self.draining = self.arm[0]

    def instance(self, arn: str) -> str:
        """A host's machine."""
        return self.cloud.hosts[arn].instance_id

    def serve_daemon(self, name: str, family: str, *, now: float, **members: object) -> None:
        """A DAEMON service that acts."""
        self.cloud.call(
            "CreateService",
            {
                "cluster": CLUSTER,
                "serviceName": name,
                "taskDefinition": family,
                "schedulingStrategy": "DAEMON",
                **members,
            },
            now=now,
        )

    def as_in_the_documentation(self) -> None:
        """Three daemons: one everywhere, one without room on two hosts, one that arm64 cannot run;
        one image's tag has moved."""
        cloud, began, now = self.cloud, self.now - 18 * DAY, self.now
        self.serve_daemon("fluent-bit", "fluent-bit", now=began)
        for host in self.x86:
            cloud.start_foreign(CLUSTER, host, "falcon", now=began + 60)
        # Something heavy came to two hosts before the third agent did.
        cloud.add_service(CLUSTER, "api", now=began + 60)
        self.crowded = self.x86[4:6]
        for host in self.crowded:
            for family in ("api", "api", "api", "cache"):
                cloud.start_foreign(CLUSTER, host, family, now=began + 120, service="api")
        self.serve_daemon("datadog", "dd-agent", now=began + 180)
        cloud.set_digest("fluent-bit", now=now - 2 * DAY)
        for host in self.x86[9:]:
            for task in cloud.live_tasks(host):
                if task.family == "fluent-bit":
                    cloud.kill_task(task.arn, now=now - 2 * DAY)
        cloud.advance(now - DAY)
        for host in self.gone:
            cloud.disconnect_agent(host, now=now - DAY)
        cloud.drain_host(self.draining, now=now - 3600)
        cloud.advance(now)


def environment(url: str) -> dict[str, str]:
    """The standard AWS environment for the simulated AWS at `url`."""
    return {
        "AWS_ENDPOINT_URL": url,
        "AWS_REGION": REGION,
        "AWS_ACCESS_KEY_ID": "auditor",
        "AWS_SECRET_ACCESS_KEY": "secret",
    }


def on_a_found_cluster(
    prepare: Callable[[FoundCluster], None], work: Callable[[FoundCluster, SimulatedAws], T]
) -> T:
    """Serve the found cluster as `prepare` leaves it, and run `work` in a thread beside it."""

    async def serve() -> T:
        cloud = Cloud("found")
        found = FoundCluster(cloud, now=time.time() - 1.0)
        prepare(found)
        async with serving(cloud) as server:
            server.pump()
            return await asyncio.to_thread(work, found, server)

    return asyncio.run(serve())
