"""What is wrong with a cluster-state-service, told once each and never without end."""

import asyncio

from blox.app.aws import Aws, RenewedCredentials
from blox.app.meter import CallMeter, Outcome
from blox.app.state_conditions import CLUSTERS_TOLD, conditions
from blox.app.state_gauges import CONDITIONS, StateMetrics
from blox.base.clock import LoopClock
from blox.clusterstate.api.context import Condition
from blox.clusterstate.discovery import Discovery
from blox.clusterstate.view import View
from blox.ecs.endpoints import Endpoint
from blox.settings import Assumptions, ViewSettings
from blox.simulator import loop
from support.documents import CLUSTER, PREFIX
from support.scriptedecs import ScriptedEcs, refused

CLUSTERS = CLUSTERS_TOLD + 7
MISSING = f"{PREFIX}:cluster/gone"


class Service:
    """The parts whose trouble is told."""

    def __init__(self) -> None:
        clock = LoopClock()
        self.ecs = ScriptedEcs(clock)
        self.view = View(
            self.ecs,
            clock,
            assumptions=Assumptions(),
            settings=ViewSettings(),
            clusters=("nowhere",),
        )
        self.named: tuple[str, ...] = ("nowhere",)
        self.discovery = Discovery(self.ecs, self.view, clock)
        self.meter = CallMeter(StateMetrics(version="1"))
        endpoint = Endpoint(url="https://ecs.example", source="test")
        self.aws = Aws(
            region="us-east-1", endpoints={"ecs": endpoint}, credentials=RenewedCredentials(clock)
        )

    def told(self, *, queue: str | None = None, store: str | None = None) -> list[Condition]:
        return list(
            conditions(
                aws=self.aws,
                meter=self.meter,
                view=self.view,
                named=self.named,
                discovery=self.discovery,
                queue=queue,
                store=store,
            )
        )


def test_each_has_a_code_that_metrics_know_a_sentence_and_a_next_step() -> None:
    async def story() -> list[Condition]:
        service = Service()
        assert service.told() == []
        service.ecs.broken["ListClusters"] = refused("ListClusters")
        work = [
            asyncio.create_task(service.view.run()),
            asyncio.create_task(service.discovery.run()),
        ]
        for _ in range(3):
            service.meter.ended("ecs", "ListTasks", Outcome.UNSENT, "no route")
        service.meter.ended("ecs", "ListTasks", Outcome.CREDENTIALS, "they have expired")
        await asyncio.sleep(5)
        told = service.told(queue="There is no queue.", store="The disk is full.")
        for task in work:
            task.cancel()
        await asyncio.wait(work)
        await service.view.close()
        return told

    told = loop.run(story())
    assert sorted(one.code for one in told) == sorted(CONDITIONS)
    assert all(one.sentence and one.next_step for one in told)
    sentences = {one.code: one.sentence for one in told}
    assert sentences["ecs-unreachable"] == "https://ecs.example: no route"
    assert sentences["cluster"] == "Cluster nowhere is not there."


def test_of_many_clusters_that_cannot_be_read_some_are_told_and_all_are_counted() -> None:
    async def story() -> list[Condition]:
        service = Service()
        service.ecs.broken["DescribeClusters"] = refused("DescribeClusters")
        for number in range(CLUSTERS):
            await service.view.follow(f"{PREFIX}:cluster/c-{number:03}")
        await asyncio.sleep(5)
        told = service.told()
        await service.view.close()
        return told

    told = loop.run(story())
    assert {one.code for one in told} == {"cluster"}
    assert len(told) == CLUSTERS_TOLD + 1
    assert told[0].sentence.startswith(f"Cluster {PREFIX}:cluster/c-000 could not be read")
    assert told[-1].sentence == "7 more clusters could not be read, c-020 among them."


def test_a_named_cluster_that_is_not_there_is_told_and_one_that_nobody_named_is_not() -> None:
    async def story(named: tuple[str, ...]) -> list[Condition]:
        service = Service()
        service.named = ("nowhere", *named)
        service.ecs.clusters = {CLUSTER: "INACTIVE"}
        service.view.restore(f"{PREFIX}:cluster/nowhere", (), ())
        for cluster in (CLUSTER, MISSING):
            await service.view.follow(cluster)
        work = asyncio.create_task(service.view.run())
        await asyncio.sleep(5)
        told = service.told()
        work.cancel()
        await asyncio.wait([work])
        await service.view.close()
        return told

    (told,) = loop.run(story(()))
    assert told.sentence == "Cluster nowhere is not there."
    for name in ("demo", CLUSTER):
        named = loop.run(story((name, MISSING)))
        assert {one.code for one in named} == {"cluster"}
        assert {one.sentence for one in named} == {
            told.sentence,
            f"Cluster {CLUSTER} is INACTIVE or not there.",
            f"Cluster {MISSING} is INACTIVE or not there.",
        }
