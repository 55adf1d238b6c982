"""What people ask of the scheduler: create, change, deploy, delete. Bad input changes nothing."""

import re
from collections.abc import Mapping
from typing import TypeVar

from msgspec import UNSET, Struct, UnsetType
from msgspec.structs import replace

from blox.base.ambient import Entropy
from blox.base.errors import BloxError, Conflict, InvalidInput, NotFound, Unavailable
from blox.base.ids import (
    is_cluster_reference,
    is_definition_reference,
    is_environment_name,
    short_id,
)
from blox.ecs.errors import EcsError, EcsRefused
from blox.ecs.model import ACTIVE, ClusterDocument, Task, TaskDefinition
from blox.ecs.seen import ClusterSeen
from blox.ecs.selector import parse
from blox.ecs.wire import overrides_problem
from blox.scheduler.adopting import Adopting, Existing, NotRead
from blox.scheduler.adoption import Choice, Sorted, heir_of
from blox.scheduler.board import allowance
from blox.scheduler.deployments import Happening, advance
from blox.scheduler.model import (
    Deployment,
    DeploymentStatus,
    Environment,
    Policy,
    Revision,
    digest_of,
)
from blox.scheduler.orders import Orders
from blox.scheduler.scheduler import Scheduler
from blox.scheduler.takeover import Takeover

IDS_KEPT = 50
"""Deployment ids kept for certain; older ones while a task still carries them."""
_T = TypeVar("_T")


class Wish(Struct, frozen=True, kw_only=True):
    """What somebody wants to run. UNSET members stay as they are (or at their defaults)."""

    task_definition: str | UnsetType = UNSET
    selector: str | UnsetType = UNSET
    task: Mapping[str, object] | UnsetType = UNSET
    policy: Policy | UnsetType = UNSET


class Orphan(Struct, frozen=True, kw_only=True):
    """A live task that a deleted environment left running."""

    task: Task
    environment_id: str
    environment_name: str
    deleted_at: float


class SchedulerService:
    """The one way in, for every API."""

    def __init__(self, scheduler: Scheduler, entropy: Entropy) -> None:
        self._scheduler = scheduler
        self._state = scheduler.state
        self._repository = scheduler.state.repository
        self._reads = scheduler.state.reads
        self._entropy = entropy
        self._creating: dict[str, int] = {}
        """Cluster → creations under way there."""
        self.adopting = Adopting(scheduler, self._definition)
        self.orders = Orders(scheduler, entropy)
        self.takeover = Takeover(scheduler)

    # --- Environments -----------------------------------------------------------------------------

    async def create(
        self,
        name: str,
        cluster: str,
        wish: Wish,
        *,
        unique_everywhere: bool = False,
        existing: Existing | None = Existing.WAIT,
        accept_no_scale_in: bool = True,
    ) -> Environment:
        """A new environment, not deployed yet. It takes over what deleted ones of its name on this
        cluster left running. `unique_everywhere`: the name must be free on every cluster, as /v1
        asks. `existing`: what to do about hosts that run its family already; None asks.

        Raises InvalidInput, NotFound (cluster or definition), Conflict (name), Occupied and
        NoScaleIn (a question to answer first), Unavailable (ECS cannot be asked).
        """
        if not is_environment_name(name):
            raise InvalidInput(
                f"{name!r} is not a name: 1 to 30 letters, digits, hyphens and underscores."
            )
        if not is_cluster_reference(cluster):
            raise InvalidInput("Invalid cluster ARN or name")
        if unique_everywhere and self._repository.named(name):
            raise Conflict(f"An environment named {name} exists already.")
        if wish.task_definition is UNSET:
            raise InvalidInput("A task definition is missing.")
        policy = Policy() if wish.policy is UNSET else wish.policy
        _check_policy(policy)
        found = await self._cluster(cluster)
        revision = await self._revision(1, None, wish)
        environment = Environment(
            id=self._entropy.uuid(),
            name=name,
            cluster_arn=found.cluster_arn,
            revisions=(revision,),
            token=self._entropy.uuid(),
            policy=policy,
            created_at=self._state.stamp(),
        )
        if existing is Existing.BESIDE:
            environment = replace(environment, policy=replace(policy, beside=True))
        cluster = environment.cluster_arn
        self._creating[cluster] = self._creating.get(cluster, 0) + 1
        try:
            return await self._create(environment, existing, ask_scale_in=not accept_no_scale_in)
        except BloxError as error:
            if self._creating[cluster] == 1 and not isinstance(error, NotRead):
                self._state.unfollow_unused(cluster)
            raise
        finally:
            self._creating[cluster] -= 1

    async def _create(
        self, environment: Environment, existing: Existing | None, *, ask_scale_in: bool
    ) -> Environment:
        view = self._state.view
        await view.follow(environment.cluster_arn)
        read = await self.adopting.first_look(environment.cluster_arn)
        if not read and existing is None and not environment.policy.beside:
            raise NotRead(_not_read(environment, view.cluster(environment.cluster_arn)))
        if read and existing is None and not environment.policy.beside:
            self.adopting.ask_about_tasks(self._heir(environment)[0])
        if read and ask_scale_in and environment.policy.when_idle is None:
            await self.adopting.ask_about_scale_in(environment)
        async with self.adopting.one_at_a_time:
            environment, tombstones = self._heir(environment)
            environment = replace(environment, past_unread=not read)
            if read and self._state.has_lost_past(environment):
                environment = replace(environment, lost_past=True)
                self._state.expect_late_calls()
            adopted = Sorted()
            if existing in (Existing.ADOPT, Existing.STOP):
                environment, adopted = await self.adopting.with_adopted(
                    environment, Choice(), to_replace=existing is Existing.STOP
                )
            after = environment

            def overtaken() -> str:
                if self._heritage(after) != tombstones:
                    return "What a deleted environment of this name left has changed; try again."
                return self.adopting.overtaken(after, adopted, planned=True)

            await self._repository.create_environment(
                after, instead_of=tombstones, unless=overtaken
            )
        # Somebody may have stopped watching the cluster before this environment was there.
        await view.follow(environment.cluster_arn)
        self._scheduler.reconciler.track(environment.id)
        return environment

    def _heir(self, environment: Environment) -> tuple[Environment, list[Environment]]:
        """The environment with what deleted ones of its name left, and those."""
        tombstones = self._heritage(environment)
        taken = {
            short_id(task.arn)
            for tombstone in tombstones
            for task in self._state.tasks_of(tombstone)
            if (owner := self._repository.owner(task)) is not None and owner.deleted_at is None
        }
        return heir_of(environment, tombstones, taken=taken, carried=self._carried), tombstones

    def _carried(self, deployment_id: str) -> bool:
        """R10: whether a task may carry this id: one is live, or a start with it is open, or the
        environment was deleted so lately that reads may miss one."""
        environment = self._repository.deployed_by(deployment_id)
        if environment is None or not self._state.known(environment.cluster_arn):
            return True
        lately = self._state.reads.now() - self._state.book.window
        return (
            (environment.deleted_at or 0.0) > lately
            or any(task.live for task in self._state.view.started_by(deployment_id))
            or any(
                attempt.intent.deployment_id == deployment_id
                for attempt in self._state.book.on_cluster(environment.cluster_arn)
            )
        )

    def _heritage(self, environment: Environment) -> list[Environment]:
        """Deleted environments of this name and cluster that are not forgotten yet."""
        return [
            tombstone
            for tombstone in self._repository.tombstones()
            if (tombstone.cluster_arn, tombstone.name)
            == (environment.cluster_arn, environment.name)
        ]

    async def change(
        self, environment_id: str, wish: Wish, *, token: str | None = None
    ) -> Environment:
        """The environment with a new revision, where the wish asks for other content, and with a
        new token. It runs when it is deployed; a policy takes effect at once.

        `token`: the change is made only if the environment's token is still this one (Conflict).
        """
        environment = self._live(environment_id)
        if token is not None and token != environment.token:
            raise Conflict(f"The environment {environment.name} was changed by somebody else.")
        policy = environment.policy if wish.policy is UNSET else wish.policy
        _check_policy(policy)
        newest = environment.newest
        revision = await self._revision(newest.number + 1, newest, wish)
        same = (revision.digest, revision.selector) == (newest.digest, newest.selector)
        changed = replace(
            environment,
            policy=policy,
            token=self._entropy.uuid(),
            revisions=environment.revisions
            if same
            else (*self._revisions_kept(environment), revision),
        )
        await self._repository.replace_environment(changed, was=environment)
        self._scheduler.reconciler.track(environment_id)
        return changed

    async def delete(self, environment_id: str, *, stop_tasks: bool = False) -> None:
        """Delete it. Its tasks go on running, and are listed as orphans; or, with `stop_tasks`,
        they are stopped first, paced, and it is deleted when none is left. Idempotent.

        Raises Conflict while hosts are its own that a DAEMON service minds to leave alone.
        """
        environment = self._repository.environment(environment_id)
        if environment is None or environment.deleted_at is not None:
            return
        with self.takeover.nobody_left_alone(environment):
            if stop_tasks:
                await self._begin_ending(environment)
                return
            tombstone = replace(environment, ending=False, deleted_at=self._state.stamp())
            await self._repository.delete_environment(tombstone, was=environment)
            self._scheduler.reconciler.untrack(environment_id)

    async def _begin_ending(self, environment: Environment) -> None:
        if environment.ending:
            return
        after = replace(environment, ending=True, token=self._entropy.uuid())
        await self._repository.replace_environment(after, was=environment)
        self._scheduler.reconciler.track(environment.id)

    def _revisions_kept(self, environment: Environment) -> tuple[Revision, ...]:
        """Revisions that a kept deployment may still name, and the newest."""
        used = {d.revision for d in self._repository.deployments(environment.id)}
        live = {*environment.deployed.values()}
        live |= {content.digest for content in environment.adopted_contents}
        return tuple(
            r
            for r in environment.revisions
            if r.number in used or r.digest in live or r is environment.newest
        )

    # --- Deployments ------------------------------------------------------------------------------

    async def deploy(
        self, environment_id: str, *, token: str | None = None, supersede: bool = False
    ) -> Deployment:
        """Deploy the newest revision.

        `token`: must be the environment's (InvalidInput otherwise: it was used or is outdated).
        Raises Conflict while another deployment is in progress, unless `supersede`.
        """
        environment = self._live(environment_id)
        if token is not None and token != environment.token:
            raise InvalidInput("The deployment token is outdated or was used already.")
        newest = self._repository.newest_deployment(environment_id)
        if newest is not None and newest.in_progress and not supersede:
            raise Conflict(
                f"Deployment {newest.id} of {environment.name} is in progress; wait for it or "
                "supersede it."
            )
        ecs_now = self._state.stamp()
        deployment = Deployment(
            id=self._entropy.uuid(),
            environment_id=environment_id,
            sequence=1 if newest is None else newest.sequence + 1,
            revision=environment.newest.number,
            created_at=ecs_now,
        )
        after = replace(
            environment,
            token=self._entropy.uuid(),
            deployed={**self._ids_kept(environment), deployment.id: environment.newest.digest},
        )
        superseded = None
        if newest is not None and newest.status not in _OVER:
            superseded = advance(newest, Happening.SUPERSEDED, ecs_now=ecs_now)
        await self._repository.create_deployment(deployment, after, superseded, was=environment)
        self._scheduler.reconciler.track(environment_id)
        return deployment

    def _ids_kept(self, environment: Environment) -> dict[str, str]:
        """R10: the ids that a live task may still carry. Beyond the last fifty, one is dropped only
        if the cluster is known completely, no task shows it and no start with it is open."""
        ids = list(environment.deployed.items())
        cluster_arn = environment.cluster_arn
        if not self._state.known(cluster_arn):
            return dict(ids)
        open_ids = {a.intent.deployment_id for a in self._state.book.on_cluster(cluster_arn)}
        old = [
            (id_, digest)
            for id_, digest in ids[:-IDS_KEPT]
            if id_ in open_ids or any(t.live for t in self._state.view.started_by(id_))
        ]
        return dict([*old, *ids[-IDS_KEPT:]])

    # --- Looking ----------------------------------------------------------------------------------

    def orphans(self) -> list[Orphan]:
        """Live tasks of deleted environments, by environment and task."""
        return [
            Orphan(
                task=task,
                environment_id=tombstone.id,
                environment_name=tombstone.name,
                deleted_at=tombstone.deleted_at or 0.0,
            )
            for tombstone in self._repository.tombstones()
            for task in self._state.left_by(tombstone)
            if task.wanted_by_ecs
        ]

    def _live(self, environment_id: str) -> Environment:
        environment = self._repository.environment(environment_id)
        if environment is None or environment.deleted_at is not None:
            raise NotFound("There is no such environment.")
        if environment.ending:
            raise Conflict(f"The environment {environment.name} is being deleted with its tasks.")
        return environment

    # --- Asking ECS -------------------------------------------------------------------------------

    async def _cluster(self, cluster: str) -> ClusterDocument:
        try:
            read = await self._reads.describe_clusters([cluster])
        except EcsError as error:
            if isinstance(error, EcsRefused) and error.code in _WRONG:
                raise NotFound(f"The cluster {cluster} does not exist: {error.reason}") from error
            raise _unanswered(error, f"the cluster {cluster}", "ecs:DescribeClusters") from error
        found = next(iter(read.items), None)
        if found is None:
            raise NotFound(f"The cluster {cluster} does not exist.")
        if found.status != ACTIVE:
            raise NotFound(f"The cluster {cluster} is {found.status}.")
        return found

    async def _definition(self, reference: str) -> TaskDefinition:
        if not is_definition_reference(reference):
            raise InvalidInput(
                f"{reference!r} is neither a task definition (family or family:revision) nor its "
                "ARN."
            )
        try:
            read = await self._reads.describe_task_definition(reference)
        except EcsRefused as error:
            if error.code in _WRONG:
                raise NotFound(f"The task definition {reference} does not exist.") from error
            raise _unanswered(
                error, f"the task definition {reference}", "ecs:DescribeTaskDefinition"
            ) from error
        except EcsError as error:
            raise _unanswered(
                error, f"the task definition {reference}", "ecs:DescribeTaskDefinition"
            ) from error
        definition = read.items[0]
        if definition.status != ACTIVE:
            raise NotFound(f"The task definition {reference} is {definition.status}.")
        if not definition.container_definitions:
            raise InvalidInput(f"The task definition {reference} has no containers.")
        return definition

    async def _revision(self, number: int, old: Revision | None, wish: Wish) -> Revision:
        """The revision that the wish makes of `old`; the same content if nothing changes."""
        selector = _given(wish.selector, "" if old is None else old.selector)
        parse(selector, stable_only=True)
        task = _given(wish.task, {} if old is None else old.task)
        if wish.task_definition is not UNSET:
            definition = await self._definition(wish.task_definition)
        else:
            assert old is not None
            definition = old.definition
        problem = overrides_problem(task, definition)
        if problem is not None:
            raise InvalidInput(problem)
        return Revision(
            number=number,
            definition=definition,
            selector=selector,
            task=task,
            digest=digest_of(definition.task_definition_arn, task),
            created_at=self._state.stamp(),
        )


_WRONG = ("ClientException", "InvalidParameterException", "ClusterNotFoundException")
"""Codes by which ECS says that what was named is not there, or not ours."""
_OVER = (DeploymentStatus.STOPPED, DeploymentStatus.SUPERSEDED)


def _not_read(environment: Environment, cluster: ClusterSeen | None) -> str:
    why = None if cluster is None else cluster.read_error
    return (
        f"The cluster {short_id(environment.cluster_arn)} has not been read completely yet"
        f"{'' if why is None else f' ({why})'}, so nobody can tell which hosts run "
        f"{environment.newest.definition.family} already. Nothing was created. Ask again in a "
        'moment; or say what is meant: with --leave ("existing": "wait") such hosts are left alone.'
    )


def _given(value: _T | UnsetType, default: _T) -> _T:
    return default if isinstance(value, UnsetType) else value


def _check_policy(policy: Policy) -> None:
    """Raises InvalidInput for a policy that means nothing."""
    text = policy.max_unavailable
    number = text.removesuffix("%")
    plain = re.fullmatch("[0-9]{1,9}", number) is not None
    if not plain or int(number) < 1 or (text.endswith("%") and int(number) > 100):
        raise InvalidInput(
            f'maxUnavailable {text!r}: a number of hosts from 1 ("3") or a share ("10%") is needed.'
        )
    allowance(text, 1)
    for name, value in (
        ("minHealthySeconds", policy.min_healthy_seconds),
        ("progressDeadline", policy.progress_deadline),
        ("drainDeadline", policy.drain_deadline),
    ):
        if not 0 <= value <= 7 * 86_400:
            raise InvalidInput(f"{name} {value:g}: seconds from 0 to 604800 are needed.")
    if policy.when_idle is not None and not 60 <= policy.when_idle <= 7 * 86_400:
        raise InvalidInput(f"whenIdle {policy.when_idle:g}: seconds from 60 to 604800 are needed.")


def _unanswered(error: EcsError, what: str, permission: str) -> Unavailable:
    """ECS did not say whether `what` exists: whose move it is, in a sentence."""
    if isinstance(error, EcsRefused) and error.denied:
        return Unavailable(
            f"ECS denies us {permission}, so {what} cannot be checked: {error.reason}"
        )
    if isinstance(error, EcsRefused) and error.throttled:
        return Unavailable(f"ECS throttles us, so {what} cannot be checked now; try again.")
    return Unavailable(f"ECS cannot be asked about {what} now: {error.message}")
