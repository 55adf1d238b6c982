"""A repository on a store in memory that fails as told, and things to keep in it."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from msgspec.structs import replace

from blox.base.clock import LoopClock
from blox.ecs.model import TaskDefinition
from blox.scheduler.model import Deployment, Environment, Intent, Revision, Settled
from blox.scheduler.repository import Loaded, Repository
from blox.simulator.loop import run
from blox.store.memory import MemoryData, MemoryStore

PROD = "arn:aws:ecs:eu-west-1:123456789012:cluster/prod"
TEST = "arn:aws:ecs:eu-west-1:123456789012:cluster/test"
HOSTS = ("host-1", "host-2", "host-3")


class Faults:
    """Raises what is planned, once each, and counts transactions."""

    def __init__(self) -> None:
        self.plan: list[tuple[str, str, Exception]] = []
        self.transactions = 0
        self.pause: asyncio.Event | None = None
        """While set, transactions wait before they are applied."""

    def fail(self, moment: str, operation: str, error: Exception) -> None:
        self.plan.append((moment, operation, error))

    async def before(self, operation: str) -> None:
        self.transactions += operation == "transact"
        if operation == "transact" and self.pause is not None:
            await self.pause.wait()
        self._fail("before", operation)

    def after(self, operation: str) -> None:
        self._fail("after", operation)

    def _fail(self, moment: str, operation: str) -> None:
        for planned in self.plan:
            if planned[:2] == (moment, operation):
                self.plan.remove(planned)
                raise planned[2]


class World:
    """One store, and processes that come and go on it."""

    def __init__(self) -> None:
        self.data = MemoryData()
        self.faults = Faults()
        self.repository = self.process()

    def process(self, *, kept: int = 50) -> Repository:
        store = MemoryStore(LoopClock(), data=self.data, faults=self.faults)
        return Repository(store, deployments_kept=kept)

    async def stored(self) -> Loaded:
        """What a process that starts now would find."""
        return await Repository(MemoryStore(LoopClock(), data=self.data)).load()


def environment(name: str = "logs", *, cluster: str = PROD, id_: str = "") -> Environment:
    definition = TaskDefinition(task_definition_arn="arn:aws:ecs:eu-west-1:1:task-definition/a:1")
    return Environment(
        id=id_ or f"id-{name}",
        name=name,
        cluster_arn=cluster,
        revisions=(Revision(number=1, definition=definition),),
        token="t1",
    )


def deployment(sequence: int, *, of: str = "id-logs") -> Deployment:
    return Deployment(id=f"{of}-d{sequence}", environment_id=of, sequence=sequence, revision=1)


def intent(id_: str = "i1", *, of: str = "id-logs", hosts: Sequence[str] = HOSTS) -> Intent:
    return Intent(
        id=id_,
        environment_id=of,
        deployment_id=f"{of}-d1",
        cluster_arn=PROD,
        definition_arn="a:1",
        group="blox:logs",
        hosts=tuple(hosts),
    )


def tombstone(of: Environment) -> Environment:
    return replace(of, deleted_at=100.0)


def play(scenario: Callable[[World], Awaitable[None]]) -> None:
    async def main() -> None:
        await scenario(World())

    run(main())


async def assert_remembers(world: World, repository: Repository) -> None:
    """Memory is what a restart would find."""
    stored = await world.stored()
    assert repository.environments() + repository.tombstones() == stored.environments
    known = [d for e in stored.environments for d in repository.deployments(e.id)]
    assert tuple(known) == stored.deployments
    assert sorted(repository.intents(), key=lambda i: i.id) == list(stored.intents)


def settled(of: Intent, **outcomes: Settled) -> Intent:
    return replace(of, settled={h.replace("_", "-"): o for h, o in outcomes.items()})


TASK, FAILED, ABSENT = Settled("task", "t"), Settled("failed", "AGENT"), Settled("absent")
