"""The one ECS client: paced reads, and acts whose outcome is never guessed.

It stands between the port (`blox.ecs.port`) and a transport, real or simulated, and adds what must
be the same over both: which errors mean what, when a request is dated, and what is in doubt.

Why acts are dated back. StartTask has no idempotency token, and a request that was sent may linger
in the network. ECS refuses a signature older than S, so nothing of ours can be accepted later than
that. Dating StartTask and StopTask back by B makes them that old already at birth: they live for
S' = S - B. ECS's time comes from its own Date headers (`blox.ecs.ecsclock`); until the first one is
known nothing is sent that acts, because this machine's clock may be minutes ahead, which would
lengthen that life. Attributes of hosts are set and taken away dated with the present: that can be
repeated until ECS shows what was meant. Who reverses one that is in doubt looks again S later.

The fence is not believed in but tried: `probe` sends a read that must be refused.
"""

import asyncio
from collections.abc import Callable, Collection, Sequence
from enum import StrEnum
from typing import Final, TypeVar

import msgspec
from msgspec import Struct

from blox.base.ambient import Clock
from blox.ecs import fence, outcomes, wire
from blox.ecs.ecsclock import EcsTime, observe, parse_date
from blox.ecs.errors import (
    CREDENTIAL_CODES,
    SIGNATURE_CODES,
    THROTTLE_CODES,
    EcsError,
    EcsRefused,
    EcsSilent,
)
from blox.ecs.fence import Finding, ProbeResult
from blox.ecs.model import (
    CapacityProviderDocument,
    ClusterDocument,
    HostDocument,
    ServiceDocument,
    TaskDefinition,
    TaskDocument,
)
from blox.ecs.pacing import CATEGORY_OF, Kind, Pacer
from blox.ecs.port import (
    InDoubt,
    Lost,
    Marked,
    MarkOutcome,
    NotDone,
    NotSent,
    Permit,
    Read,
    Started,
    StartOutcome,
    StartRequest,
    StopOutcome,
    Stopping,
    Transport,
    WireAnswer,
)
from blox.settings import Assumptions

A = TypeVar("A", bound=Struct)
D = TypeVar("D", TaskDocument, HostDocument)

TAGS: Final = "TAGS"
HOST_HEALTH: Final = "CONTAINER_INSTANCE_HEALTH"
"""What a Describe leaves out unless it is asked to include it."""


class NoticeKind(StrEnum):
    """What the client may have to tell the operator."""

    CLOCK = "clock"
    """ECS's clock and our estimate of it differed by more than 5 s; ECS's was taken."""
    AGE_LIMIT = "signature-age"
    """ECS accepts older signatures than S; a longer S is in force."""
    FENCE_OFF = "fence-off"
    """The endpoint checks no dates: only waiting protects from a late request."""
    BACKDATE_OFF = "backdate-refused"
    """ECS refuses our back-dated calls; they carry the present from now on."""


class Notice(Struct, frozen=True, kw_only=True):
    """Something for the log and the metrics."""

    kind: NoticeKind
    sentence: str


class _Trail:
    """How far one request got, as the callbacks that the transport makes tell."""

    def __init__(self) -> None:
        self.dated: float | None = None
        """The date in its signature."""
        self.signed_at: float | None = None
        self.left = False
        """It was permitted to leave: from here on it may have happened."""


class EcsClient:
    """`EcsReads` and `EcsActs` for one account and region, over `transport`.

    Reads take their token from `pacer` themselves. Acts do not: who acts takes the token, then
    plans again, then calls. Throttles of both are reported to `pacer`.
    Cancelling an act leaves its outcome unknown, as a crash does.
    """

    def __init__(
        self,
        transport: Transport,
        *,
        clock: Clock,
        assumptions: Assumptions,
        pacer: Pacer,
        timeout: float = 60.0,
        listener: Callable[[Notice], None] | None = None,
        whole: bool = False,
        include: Collection[str] = (),
    ) -> None:
        """`timeout`: seconds after which a request without an answer is given up. `whole`: tasks
        and hosts that are described carry their account as ECS sent it. `include`: what is asked
        of them beyond what ECS tells by itself, of `TAGS` and `HOST_HEALTH`."""
        self._transport = transport
        self._clock = clock
        self._configured = assumptions
        self._assumptions = assumptions
        self._pacer = pacer
        self._timeout = timeout
        self._listener = listener
        self._whole = whole
        self._include = frozenset(include)
        self._time = EcsTime()
        self._accepted: dict[str, float] = {}
        self._lasting: dict[NoticeKind, Notice] = {}
        self._probed = False

    # --- What is known ----------------------------------------------------------------------------

    def now(self) -> float:
        return self._time.at(self._clock.monotonic(), wall=self._clock.wall())

    @property
    def assumptions_in_force(self) -> Assumptions:
        """S, B, E and V as used now: as configured, until the probe or ECS shows otherwise. Its
        `doubt_window` is W."""
        return self._assumptions

    @property
    def probed(self) -> bool:
        """Whether `probe` has come to a finding: before that, nothing should be started, and no
        doubt be ended by absence."""
        return self._probed

    @property
    def notices(self) -> tuple[Notice, ...]:
        """What is not as configured and stays so, in order of kind."""
        return tuple(self._lasting[kind] for kind in NoticeKind if kind in self._lasting)

    def _tell(self, kind: NoticeKind, sentence: str, *, lasting: bool = True) -> None:
        notice = Notice(kind=kind, sentence=sentence)
        if lasting:
            if kind in self._lasting:
                return
            self._lasting[kind] = notice
        if self._listener is not None:
            self._listener(notice)

    # --- Reads ------------------------------------------------------------------------------------

    async def describe_clusters(self, clusters: Sequence[str]) -> Read[ClusterDocument]:
        request = wire.describe_clusters(clusters)
        answer, found = await self._read(request, wire.ClustersAnswer)
        return outcomes.page(answer, found.clusters, found.failures)

    async def list_clusters(self, *, next_token: str | None = None) -> Read[str]:
        answer, found = await self._read(wire.list_clusters(next_token), wire.ClusterArnsAnswer)
        return outcomes.page(answer, found.cluster_arns, next_token=found.next_token)

    async def list_hosts(self, cluster: str, *, next_token: str | None = None) -> Read[str]:
        request = wire.list_hosts(cluster, next_token)
        answer, found = await self._read(request, wire.HostArnsAnswer)
        return outcomes.page(answer, found.container_instance_arns, next_token=found.next_token)

    async def describe_hosts(self, cluster: str, hosts: Sequence[str]) -> Read[HostDocument]:
        include = [what for what in (TAGS, HOST_HEALTH) if what in self._include]
        request = wire.describe_hosts(cluster, hosts, include)
        if not self._whole:
            answer, found = await self._read(request, wire.HostsAnswer)
            return outcomes.page(answer, found.container_instances, found.failures)
        answer, raw = await self._read(request, wire.WholeHostsAnswer)
        items = _each_whole(request.operation, raw.container_instances, HostDocument)
        return outcomes.page(answer, items, raw.failures)

    async def list_tasks(
        self, cluster: str, *, desired_status: str, next_token: str | None = None
    ) -> Read[str]:
        request = wire.list_tasks(cluster, desired_status, next_token)
        answer, found = await self._read(request, wire.TaskArnsAnswer)
        return outcomes.page(answer, found.task_arns, next_token=found.next_token)

    async def describe_tasks(self, cluster: str, tasks: Sequence[str]) -> Read[TaskDocument]:
        include = [TAGS] if TAGS in self._include else []
        request = wire.describe_tasks(cluster, tasks, include)
        if not self._whole:
            answer, found = await self._read(request, wire.TasksAnswer)
            return outcomes.page(answer, found.tasks, found.failures)
        answer, raw = await self._read(request, wire.WholeTasksAnswer)
        items = _each_whole(request.operation, raw.tasks, TaskDocument)
        return outcomes.page(answer, items, raw.failures)

    async def describe_task_definition(self, definition: str) -> Read[TaskDefinition]:
        request = wire.describe_task_definition(definition)
        answer, found = await self._read(request, wire.DefinitionAnswer)
        return outcomes.page(answer, (found.task_definition,))

    async def describe_services(
        self, cluster: str, services: Sequence[str]
    ) -> Read[ServiceDocument]:
        request = wire.describe_services(cluster, services)
        answer, found = await self._read(request, wire.ServicesAnswer)
        return outcomes.page(answer, found.services, found.failures)

    async def list_services(self, cluster: str, *, next_token: str | None = None) -> Read[str]:
        request = wire.list_services(cluster, next_token)
        answer, found = await self._read(request, wire.ServiceArnsAnswer)
        return outcomes.page(answer, found.service_arns, next_token=found.next_token)

    async def describe_capacity_providers(
        self, names: Sequence[str]
    ) -> Read[CapacityProviderDocument]:
        request = wire.describe_capacity_providers(names)
        answer, found = await self._read(request, wire.ProvidersAnswer)
        return outcomes.page(
            answer, found.capacity_providers, found.failures, next_token=found.next_token
        )

    async def _read(self, request: wire.Request, form: type[A]) -> tuple[WireAnswer, A]:
        """Ask once; and once more when ECS refused the signature and its own Date shows that our
        clock was the reason (before the first answer, or after this machine was suspended)."""
        believed = self._time
        answer, _ = await self._ask(request)
        if answer.status != 200 and self._misdated(answer, believed):
            answer, _ = await self._ask(request)
        if answer.status != 200:
            raise outcomes.read_refusal(request.operation, answer)
        if not outcomes.request_id_of(answer):
            raise EcsSilent(request.operation, "the answer carries no request id of ECS")
        try:
            return answer, wire.decode(answer.body, form)
        except wire.Unreadable as error:
            raise EcsSilent(request.operation, f"the answer is unreadable: {error}") from error

    def _misdated(self, answer: WireAnswer, believed: EcsTime) -> bool:
        code = wire.error_of(answer.status, answer.body).code
        date = parse_date(answer.headers.get("date"))
        if code not in SIGNATURE_CODES or not outcomes.request_id_of(answer) or date is None:
            return False
        mono = self._clock.monotonic()
        off = observe(believed, date, received=mono, wall=self._clock.wall())
        return not believed.known or off.jump is not None

    async def _ask(self, request: wire.Request, *, aged: float = 0.0) -> tuple[WireAnswer, _Trail]:
        """One paced read, signed `aged` seconds ago. Raises EcsSilent when no answer came."""
        category = CATEGORY_OF[request.operation]
        await self._pacer.acquire(category, Kind.READ)
        trail = _Trail()
        try:
            answer = await self._exchange(request, trail, date=lambda now: now - aged)
        except (NotSent, Lost) as error:
            raise EcsSilent(request.operation, error.cause) from error
        self._note_answer(request.operation, answer)
        return answer, trail

    # --- Acts -------------------------------------------------------------------------------------

    async def start_task(self, request: StartRequest, permit: Permit) -> StartOutcome:
        sent = wire.start_task(request)
        answer = await self._act(sent, permit, dated_back=True, cluster=request.cluster)
        if not isinstance(answer, WireAnswer):
            return answer
        try:
            found = wire.decode(answer.body, wire.TasksAnswer)
        except wire.Unreadable as error:
            return outcomes.unreadable(answer, error)
        return Started(
            signed_at=answer.signed_at,
            tasks=found.tasks,
            failures=found.failures,
            date=self._arrival(answer),
            request_id=outcomes.request_id_of(answer),
        )

    async def stop_task(
        self, cluster: str, task: str, *, reason: str, permit: Permit
    ) -> StopOutcome:
        sent = wire.stop_task(cluster, task, reason)
        answer = await self._act(sent, permit, dated_back=True, cluster=cluster)
        if not isinstance(answer, WireAnswer):
            return answer
        try:
            found = wire.decode(answer.body, wire.StopAnswer)
        except wire.Unreadable as error:
            return outcomes.unreadable(answer, error)
        return Stopping(
            signed_at=answer.signed_at, task=found.task, request_id=outcomes.request_id_of(answer)
        )

    async def put_attribute(
        self, cluster: str, hosts: Sequence[str], *, name: str, value: str, permit: Permit
    ) -> MarkOutcome:
        return await self._mark(wire.put_attributes(cluster, hosts, name, value), permit)

    async def delete_attribute(
        self, cluster: str, hosts: Sequence[str], *, name: str, permit: Permit
    ) -> MarkOutcome:
        return await self._mark(wire.delete_attributes(cluster, hosts, name), permit)

    async def _mark(self, request: wire.Request, permit: Permit) -> MarkOutcome:
        answer = await self._act(request, permit)
        if not isinstance(answer, WireAnswer):
            return answer
        try:
            wire.decode(answer.body, wire.AttributesAnswer)
        except wire.Unreadable as error:
            return outcomes.unreadable(answer, error)
        return Marked(request_id=outcomes.request_id_of(answer))

    async def _act(
        self, request: wire.Request, permit: Permit, *, dated_back: bool = False, cluster: str = ""
    ) -> WireAnswer | NotDone | InDoubt:
        """Send one act once: the answer of ECS that accepted it, or what became of it."""
        if not self._time.known:
            return outcomes.not_sent(
                "clock", "ECS has not told its time yet; a read must come first."
            )
        trail = _Trail()
        try:
            answer = await self._exchange(
                request,
                trail,
                date=lambda now: fence.acting_date(now, self._assumptions) if dated_back else now,
                permit=permit,
                fresh=True,
            )
        except NotSent as error:
            return outcomes.not_sent(error.code, error.cause)
        except Lost as error:
            return InDoubt(cause=error.cause, signed_at=error.signed_at)
        except Exception as error:  # noqa: BLE001 - an act never raises: unknown means in doubt
            if trail.signed_at is None or not trail.left:
                return outcomes.not_sent("connect", repr(error))
            return InDoubt(cause=repr(error), signed_at=trail.signed_at)
        self._note_answer(request.operation, answer)
        if answer.status == 200 and outcomes.request_id_of(answer):
            return answer
        outcome = outcomes.act_refusal(answer)
        if dated_back and isinstance(outcome, NotDone):
            if outcome.code in SIGNATURE_CODES | CREDENTIAL_CODES and not self._vouched(answer):
                # Who follows another service's view reads too rarely to know already.
                await self._present_is_accepted(cluster)
            self._doubt_backdating(outcome, answer, trail)
        return outcome

    def _vouched(self, answer: WireAnswer) -> bool:
        """Whether a read with the same credentials was accepted not long ago."""
        at = self._accepted.get(answer.signer)
        return at is not None and self._clock.monotonic() - at <= fence.TRUSTED_FOR

    def _doubt_backdating(self, refused: NotDone, answer: WireAnswer, trail: _Trail) -> None:
        """Date no longer back where ECS takes the credentials but not the date."""
        limits = self._assumptions
        vouched = self._accepted.get(answer.signer)
        mono = self._clock.monotonic()
        if trail.dated is None or not fence.backdating_refuted(
            refused.code,
            age=self._arrival(answer) - trail.dated,
            vouched_ago=None if vouched is None else mono - vouched,
            limits=limits,
        ):
            return
        self._assumptions = fence.backdating_off(limits)
        self._tell(
            NoticeKind.BACKDATE_OFF,
            f"ECS refused a call dated back by {limits.dated_back:g} s ({refused.code}) although "
            "it accepts reads signed with the same credentials; calls carry the present from now "
            f"on, and a doubt lasts {self._assumptions.doubt_window:g} s.",
        )

    # --- The fence --------------------------------------------------------------------------------

    async def probe(self, cluster: str) -> ProbeResult:
        """Find out whether ECS refuses old signatures (`blox.ecs.fence`) and act by it.

        A DescribeClusters of the present goes first: it tells ECS's time and that the credentials
        are good. Never raises; a caller that gets UNANSWERED asks again later.
        """
        limits = self._configured
        first, second = fence.probe_ages(limits)
        refused: bool | None = None
        if await self._present_is_accepted(cluster):
            refused = await self._refuses(cluster, first)
        if refused is None:
            return self._unanswered()
        if refused:
            return self._conclude(Finding.STANDS, limits)
        refused = await self._refuses(cluster, second)
        if refused is None:
            return self._unanswered()
        if refused:
            return self._conclude(Finding.LONGER, fence.longer_age(limits))
        return self._conclude(Finding.OFF, fence.fence_off(limits))

    async def _present_is_accepted(self, cluster: str) -> bool:
        try:
            await self.describe_clusters([cluster])
        except EcsRefused as error:
            return outcomes.signature_passed(error.code, error.status)
        except EcsError:
            return False
        return True

    async def _refuses(self, cluster: str, age: float) -> bool | None:
        """Whether ECS refuses a signature of this age; None when that cannot be told."""
        try:
            answer, trail = await self._ask(wire.describe_clusters([cluster]), aged=age)
        except EcsSilent:
            return None
        if not outcomes.request_id_of(answer) or trail.dated is None:
            return None
        error = wire.error_of(answer.status, answer.body)
        if answer.status != 200 and not error.understood:
            return None
        return fence.refused_for_age(
            "" if answer.status == 200 else error.code,
            answer.status,
            age=age,
            arrived_at_age=self._arrival(answer) - trail.dated,
            limits=self._configured,
        )

    def _unanswered(self) -> ProbeResult:
        return ProbeResult(
            finding=Finding.UNANSWERED,
            assumptions=self._assumptions,
            sentence="ECS has not answered the test of its signature check; nothing is started.",
        )

    def _conclude(self, finding: Finding, found: Assumptions) -> ProbeResult:
        if NoticeKind.BACKDATE_OFF in self._lasting:
            found = fence.backdating_off(found)
        self._assumptions = found
        self._probed = True
        asked = self._configured.signature_age
        sentence = f"ECS refuses signatures older than {asked:g} s."
        if finding is Finding.LONGER:
            sentence = (
                f"ECS accepts signatures older than {asked:g} s but not than "
                f"{found.signature_age:g} s; calls are dated back by {found.dated_back:g} s."
            )
            self._tell(NoticeKind.AGE_LIMIT, sentence)
        elif finding is Finding.OFF:
            sentence = (
                "This endpoint checks no dates; the fence is off. "
                f"A doubt lasts {found.doubt_window:g} s."
            )
            self._tell(NoticeKind.FENCE_OFF, sentence)
        return ProbeResult(finding=finding, assumptions=found, sentence=sentence)

    # --- One exchange -----------------------------------------------------------------------------

    async def _exchange(
        self,
        request: wire.Request,
        trail: _Trail,
        *,
        date: Callable[[float], float],
        permit: Permit | None = None,
        fresh: bool = False,
    ) -> WireAnswer:
        """Send `request` once, signed with what `date` makes of ECS's time.

        Raises NotSent or Lost, also when time runs out: `trail` tells which.
        """

        def sign_with() -> float:
            trail.signed_at = self._clock.monotonic()
            trail.dated = date(self.now())
            return trail.dated

        def gate() -> str | None:
            refusal = permit() if permit is not None else None
            trail.left = refusal is None
            return refusal

        try:
            async with asyncio.timeout(self._timeout):
                return await self._transport.send(
                    request.operation, request.body, date=sign_with, permit=gate, fresh=fresh
                )
        except TimeoutError as error:
            cause = f"no answer within {self._timeout:g} s"
            if trail.signed_at is None or not trail.left:
                raise NotSent("connect", cause) from error
            raise Lost(cause, signed_at=trail.signed_at) from error

    def _arrival(self, answer: WireAnswer) -> float:
        """ECS's time when it answered."""
        date = parse_date(answer.headers.get("date"))
        return self.now() if date is None else date

    def _note_answer(self, operation: str, answer: WireAnswer) -> None:
        """Learn from an answer of ECS: its clock, a throttle, that a signature was accepted."""
        error = wire.error_of(answer.status, answer.body) if answer.status != 200 else None
        if error is not None and error.code in THROTTLE_CODES:
            self._pacer.throttled(CATEGORY_OF[operation])
        if not outcomes.request_id_of(answer):
            return
        mono = self._clock.monotonic()
        date = parse_date(answer.headers.get("date"))
        if date is not None:
            seen = observe(self._time, date, received=mono, wall=self._clock.wall())
            whose = "our estimate of it" if self._time.known else "this machine's clock"
            self._time = seen.time
            if seen.jump is not None:
                word = "ahead of" if seen.jump > 0 else "behind"
                self._tell(
                    NoticeKind.CLOCK,
                    f"ECS's clock is {abs(seen.jump):.0f} s {word} {whose}; ECS's is taken.",
                    lasting=False,
                )
        read = CATEGORY_OF[operation].value.endswith("-read")
        if read and (error is None or outcomes.signature_passed(error.code, answer.status)):
            self._accepted = {answer.signer: mono}


def _each_whole(operation: str, sent: Sequence[msgspec.Raw], form: type[D]) -> tuple[D, ...]:
    try:
        return tuple(wire.with_whole(raw, form) for raw in sent)
    except wire.Unreadable as error:
        raise EcsSilent(operation, f"the answer is unreadable: {error}") from error
