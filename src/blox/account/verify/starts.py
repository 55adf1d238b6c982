"""What StartTask and RunTask do with odd requests. Each starts its tasks under this run's name.

https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_StartTask.html
https://docs.aws.amazon.com/AmazonECS/latest/APIReference/ECS_Idempotency.html
"""

from typing import Final

from blox.account.verify.client import CannotAsk, text
from blox.account.verify.definitions import Variant
from blox.account.verify.hosts import MOST, Host, Kind
from blox.account.verify.lab import GROUP, Lab, Placed, usable
from blox.account.verify.report import Finding, judged, not_asked
from blox.base.ids import parse_arn

PREFIXED: Final = "blox:verify"
"""The group of the task that tries the prefix of blox's own."""
SPECIAL_HOSTS: Final = {Kind.EXTERNAL: "start-on-external", Kind.MANAGED: "start-on-managed"}
"""Questions that need a host of some kind."""
OWN_DEFINITIONS: Final = (
    "placement-constraints",
    "inactive-definition",
    "ports-token",
    "pending-behind-stopping",
)
"""Questions that need a task definition made for them."""


async def group_prefix(lab: Lab) -> list[Finding]:
    """A task whose group begins as those of environments do."""
    placed = usable(await lab.start([lab.host.arn], group=PREFIXED), failures_tell=False)
    shown = [text(task, "group") for task in placed.tasks]
    seen = f"accepted, shown as {shown[0]}" if shown else placed.words
    return [judged("group-prefix", seen, same=shown == [PREFIXED])]


async def same_host_twice(lab: Lab) -> list[Finding]:
    """One call, one host, named twice."""
    placed = usable(await lab.start([lab.host.arn, lab.host.arn]), failures_tell=False)
    same = len(placed.tasks) == 1 and not placed.failures
    return [judged("same-host-twice", placed.words, same=same)]


async def eleven_hosts(lab: Lab) -> list[Finding]:
    """One call for eleven hosts, none of which exists: nothing can start."""
    placed = await lab.start([f"{number:032x}" for number in range(1, 12)])
    code = placed.answer.code
    if not code or code == "InvalidParameterException":
        return [judged("eleven-hosts", placed.words, same=bool(code))]
    if placed.answer.uncertain or "AccessDenied" in code:
        raise CannotAsk(f"StartTask was refused: {placed.answer.words}")
    return [judged("eleven-hosts", placed.words, same=False)]


async def placement_constraints(lab: Lab) -> list[Finding]:
    """A definition whose constraint no host satisfies."""
    placed = usable(await lab.start([lab.host.arn], variant=Variant.CONSTRAINED))
    return [judged("placement-constraints", placed.words, same=len(placed.tasks) == 1)]


async def inactive_definition(lab: Lab) -> list[Finding]:
    """A definition that was deregistered just before."""
    await lab.retire(Variant.INACTIVE)
    placed = usable(await lab.start([lab.host.arn], variant=Variant.INACTIVE))
    same = placed.answer.code == "ClientException"
    return [judged("inactive-definition", placed.words, same=same)]


async def start_on_external(lab: Lab) -> list[Finding]:
    """A host of ECS Anywhere."""
    return await _start_on(lab, "start-on-external", Kind.EXTERNAL, variant=Variant.EXTERNAL)


async def start_on_managed(lab: Lab) -> list[Finding]:
    """A host of ECS Managed Instances."""
    return await _start_on(lab, "start-on-managed", Kind.MANAGED, variant=Variant.MANAGED)


async def _start_on(lab: Lab, question: str, kind: Kind, *, variant: Variant) -> list[Finding]:
    host = next((host for host in lab.orders.hosts if host.kind is kind), None)
    if host is None:
        return [not_asked(question, lacking(kind))]
    if lab.orders.definition is not None:
        variant = Variant.PLAIN
    placed = usable(await lab.start([host.arn], variant=variant))
    types = [text(task, "launchType") for task in placed.tasks]
    same = types == [Kind.EXTERNAL.value] if kind is Kind.EXTERNAL else len(types) == 1
    seen = f"started, launchType {types[0] or 'not given'}" if types else placed.words
    return [judged(question, seen, same=same)]


def lacking(kind: Kind) -> str:
    """Why a question about such a host is not asked."""
    what = "ECS Anywhere" if kind is Kind.EXTERNAL else "ECS Managed Instances"
    return (
        f"none of the hosts used is of {what}; {MOST} at most are used: name one with --host if "
        "the cluster has one"
    )


async def ports_token(lab: Lab) -> list[Finding]:
    """Two tasks with the same static port on one host, in both network modes that share it."""
    seen: list[str] = []
    same = True
    for mode, variant in (("bridge", Variant.BRIDGE_PORT), ("host", Variant.HOST_PORT)):
        await lab.one(lab.host, variant=variant, port=lab.free_port(lab.host))
        second = usable(await lab.start([lab.host.arn], variant=variant))
        same = same and second.reasons == ["RESOURCE:PORTS"] and not second.tasks
        seen.append(f"{mode}: {second.words}")
    return [judged("ports-token", "; ".join(seen), same=same)]


async def run_task_token(lab: Lab) -> list[Finding]:
    """RunTask placed on one host by its instance id, twice with one token, then with another
    group."""
    host = next((host for host in lab.orders.hosts if host.kind is not Kind.MANAGED), None)
    if host is None:
        return [not_asked("run-task-token", "it needs an EC2 or EXTERNAL host")]
    own = lab.orders.definition is None and host.kind is Kind.EXTERNAL
    variant = Variant.EXTERNAL if own else Variant.PLAIN
    token = f"{lab.orders.run}-token"
    first = usable(await lab.run_task(host, variant=variant, token=token))
    if len(first.arns) != 1:
        raise CannotAsk(f"RunTask on {host.name} started no task: {first.words}")
    again = usable(await lab.run_task(host, variant=variant, token=token))
    other = usable(await lab.run_task(host, variant=variant, token=token, group=f"{GROUP}-other"))
    placed_there = [text(task, "containerInstanceArn") for task in first.tasks] == [host.arn]
    same = placed_there and again.arns == first.arns and other.answer.code == "ConflictException"
    seen = (
        f"first on {'the host named' if placed_there else 'another host'}; "
        f"the same token {_repeated(first, again)}; with another group {other.words}"
    )
    return [judged("run-task-token", seen, same=same)]


def _repeated(first: Placed, again: Placed) -> str:
    if again.arns == first.arns:
        return "gave the first task again"
    return f"gave another: {again.words}" if again.tasks else again.words


async def arn_format(lab: Lab) -> list[Finding]:
    """The ARNs that were seen: hosts, and tasks if any were started."""
    arns = [*(host.arn for host in lab.orders.hosts), *lab.made]
    short = [arn for arn in arns if (parsed := parse_arn(arn)) is None or parsed.cluster is None]
    seen = f"{_host_count(lab.orders.hosts)} and {len(lab.made)} tasks: " + (
        f"{len(short)} without the cluster, as {short[0]}" if short else "all name the cluster"
    )
    return [judged("arn-format", seen, same=not short)]


def _host_count(hosts: tuple[Host, ...]) -> str:
    return "1 host" if len(hosts) == 1 else f"{len(hosts)} hosts"
