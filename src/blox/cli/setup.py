"""`blox setup`: print what a service of blox needs in an AWS account, and make nothing."""

import asyncio
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import click

from blox import __version__
from blox.account.setup.cloudformation import BLANKS as CLOUDFORMATION_BLANKS
from blox.account.setup.cloudformation import INLINE_LIMIT, cloudformation
from blox.account.setup.feed import (
    DEAD,
    IAM_BLANKS,
    PATTERN_LIMIT,
    Blanks,
    RunsOn,
    Template,
    too_many,
)
from blox.account.setup.found import (
    Found,
    Options,
    Wanted,
    find_clusters,
    find_definitions,
    found_of,
    looked_at,
    needs_families,
    permitted_for,
)
from blox.account.setup.policies import (
    ATTACHED,
    LIMIT,
    Permitted,
    document,
    documents,
    size,
    statements,
)
from blox.account.setup.terraform import BLANKS as TERRAFORM_BLANKS
from blox.account.setup.terraform import terraform
from blox.base.errors import InvalidInput
from blox.base.ids import is_cluster_reference
from blox.cli.client import Client, JsonObject
from blox.cli.output import count, print_json
from blox.cli.session import Session, pass_session, shared_options
from blox.cli.words import find_environment, full_name, path_in

_HELP: Final = {"help_option_names": ["-h", "--help"], "max_content_width": 88}
_QUEUE: Final = re.compile(rf"[A-Za-z0-9_-]{{1,{80 - len(DEAD)}}}")
"""https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-queue-message-identifiers.html"""
_QUEUE_NAME: Final = "blox-events"
_STATE_QUEUE_NAME: Final = "blox-state"
_KINESIS: Final = "kinesis://"
_STREAM: Final = re.compile(r"[A-Za-z0-9_.-]{1,128}")
"""https://docs.aws.amazon.com/kinesis/latest/APIReference/API_CreateStream.html"""
_BUS: Final = re.compile(r"[A-Za-z0-9_.-][A-Za-z0-9/_.-]{0,255}")
_BLANKS: Final[Mapping[str, Blanks]] = {
    "cloudformation": CLOUDFORMATION_BLANKS,
    "terraform": TERRAFORM_BLANKS,
    "iam": IAM_BLANKS,
}
_SLOW: Final = 20
"""Calls that take more than about two seconds, at the pace that they are sent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """The command line."""

    kind: str
    clusters: tuple[str, ...]
    environments: tuple[str, ...]
    every: bool
    runs_on: RunsOn
    options: Options

    def typed(self) -> str:
        """The command that prints it again."""
        words = ["blox", "setup", "--print", self.kind]
        for cluster in self.clusters:
            words += ["--cluster", cluster]
        for environment in self.environments:
            words += ["--environment", environment]
        words += ["--all"] if self.every else []
        queue = self.options.queue or f"{_KINESIS}{self.options.stream}"
        words += ["--queue", queue] if queue != _default_queue(state=self.options.state) else []
        words += ["--observe"] if self.options.observe else []
        words += ["--state-service"] if self.options.state else []
        words += ["--migrate"] if self.options.migrate else []
        words += ["--notify-bus", self.options.bus] if self.options.bus is not None else []
        words += ["--runs-on", self.runs_on.value] if self.runs_on is not RunsOn.EC2 else []
        return shlex.join(words)


@click.command(context_settings=_HELP)
@click.option(
    "--print",
    "kind",
    required=True,
    type=click.Choice(list(_BLANKS)),
    help="cloudformation, terraform: queue, dead-letter queue, rule, policy and role. iam: the "
    "policy document alone.",
)
@click.option(
    "--cluster",
    "clusters",
    metavar="NAME|ARN",
    multiple=True,
    help="A cluster of the scheduler's; may be repeated. Its ARN is asked of ECS, with your own "
    "credentials.",
)
@click.option(
    "--environment",
    "--env",
    "environments",
    metavar="[CLUSTER/]NAME",
    multiple=True,
    help="An environment of the running scheduler; may be repeated. Fills in its cluster, the "
    "families it starts and the roles they are given.",
)
@click.option("--all", "every", is_flag=True, help="Every environment of the running scheduler.")
@click.option(
    "--queue",
    metavar="NAME",
    help="The queue's name. Each service needs a queue of its own: two would each hear half.  "
    f"[default: {_QUEUE_NAME}, or {_STATE_QUEUE_NAME} with --state-service]",
)
@click.option(
    "--observe", is_flag=True, help="For a scheduler that only observes: nothing but reads."
)
@click.option(
    "--state-service",
    "state",
    is_flag=True,
    help="For a cluster-state-service: reads of the named clusters, or of all there are.",
)
@click.option("--migrate", is_flag=True, help="Also what `blox migrate` needs: to mark hosts.")
@click.option(
    "--notify-bus", "bus", metavar="NAME", help="Also what notices to this event bus need."
)
@click.option(
    "--runs-on",
    type=click.Choice([place.value for place in RunsOn]),
    default=RunsOn.EC2.value,
    show_default=True,
    help="Where the scheduler will run. ec2: a role with an instance profile. ecs: a task role. "
    "elsewhere: no role, only its policy.",
)
@shared_options
@pass_session
def setup(session: Session, /, **given: Any) -> None:
    """Print what a service of blox needs in an AWS account: events, and permissions.

    Nothing is made. Standard output is the document and nothing else; what there is to say about it
    goes to standard error.

    What is named is filled in, and what is not stays blank: a parameter in CloudFormation, a
    variable in Terraform, a word in CAPITALS in a policy. Without a scheduler --cluster says where
    it may look; the families that it may start and the roles that they get are blank until its
    environments are named.

    The policy is the least that works: it starts the families of the environments on their own
    clusters, stops tasks there, and passes the roles of their definitions. Print it again when an
    environment gets another family or role.

    \b
    Example:
      blox setup --print cloudformation --cluster payments-dev > blox.yaml
      aws cloudformation deploy --template-file blox.yaml --stack-name blox \\
        --capabilities CAPABILITY_IAM
      daemon-scheduler --store sqlite:blox.db --queue blox-events --observe

    \b
    When its environments are there:
      blox setup --print iam --environment payments-dev/logs > policy.json
      blox setup --print terraform --all > blox.tf

    \b
    To look without risk:
      blox setup --print iam --observe --cluster payments-dev

    \b
    For a cluster-state-service, with a queue of its own or a Kinesis stream:
      blox setup --print cloudformation --state-service --queue blox-state
      blox setup --print iam --state-service --queue kinesis://ecs-events
    """
    asked = _asked(given)
    environments = _environments(session, asked)
    found = asyncio.run(_find(asked, environments))
    permitted = permitted_for(found, _BLANKS[asked.kind], asked.options)
    printed, notes = _printed(asked, permitted, found)
    notes = [*_notes(asked, found, environments), *notes]
    if session.as_json:
        print_json({"print": asked.kind, "documents": printed, "notes": notes})
        return
    if asked.kind == "iam":
        print_json(printed[0] if len(printed) == 1 else printed)
    else:
        click.echo(printed[0], nl=False)
    for note in notes:
        click.echo(f"note: {note}", err=True)


def _asked(given: Mapping[str, Any]) -> _Asked:
    """The command line, checked. Raises InvalidInput."""
    queue = given["queue"] or _default_queue(state=given["state"])
    bus = given["bus"]
    stream = _stream(queue, given)
    if not stream and _QUEUE.fullmatch(queue) is None:
        raise InvalidInput(
            f"--queue {queue!r}: a name of letters, digits, hyphens and underscores is needed, of "
            f"at most {80 - len(DEAD)} characters; its dead-letter queue gets {DEAD} behind it."
        )
    if bus is not None and _BUS.fullmatch(bus) is None:
        raise InvalidInput(f"--notify-bus {bus!r} is no name of an event bus, as in default.")
    if given["observe"] and given["migrate"]:
        raise InvalidInput("--migrate marks hosts, and --observe changes nothing: leave one out.")
    if given["state"] and any(given[word] for word in ("observe", "migrate", "bus")):
        raise InvalidInput(
            "--state-service only reads, and tells nobody: leave out --observe, --migrate and "
            "--notify-bus."
        )
    if given["state"] and (given["environments"] or given["every"]):
        raise InvalidInput(
            "--state-service knows clusters, not environments: name clusters with --cluster."
        )
    for cluster in given["clusters"]:
        if not is_cluster_reference(cluster):
            raise InvalidInput(f"--cluster {cluster!r} is neither a cluster's name nor its ARN.")
    return _Asked(
        kind=given["kind"],
        clusters=given["clusters"],
        environments=given["environments"],
        every=given["every"],
        runs_on=RunsOn(given["runs_on"]),
        options=Options(
            queue="" if stream else queue,
            bus=bus,
            migrate=given["migrate"],
            observe=given["observe"],
            state=given["state"],
            stream=stream,
        ),
    )


def _default_queue(*, state: bool) -> str:
    return _STATE_QUEUE_NAME if state else _QUEUE_NAME


def _stream(queue: str, given: Mapping[str, Any]) -> str:
    """The stream's name where --queue names one; else "". Raises InvalidInput."""
    if not queue.startswith(_KINESIS):
        return ""
    name = queue.removeprefix(_KINESIS)
    if _STREAM.fullmatch(name) is None:
        raise InvalidInput(f"--queue {queue!r}: {name!r} is no name of a Kinesis stream.")
    if not given["state"] or given["kind"] != "iam":
        raise InvalidInput(
            f"--queue {queue!r}: a stream is read by a cluster-state-service alone, and what feeds "
            "it is not printed: --print iam --state-service."
        )
    return name


# --- Finding out ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Environment:
    """An environment as the scheduler shows it, and what it has there."""

    wanted: Wanted
    unseen: int | None
    """Its revision in force, when that is not the newest."""


def _environments(session: Session, asked: _Asked) -> tuple[_Environment, ...]:
    """What the scheduler says of the environments that are named. Raises BloxError."""
    if not asked.every and not asked.environments:
        return ()
    client = session.client()
    if asked.every:
        shown = client.every("/v2/environments", {"limit": "1000"})
        if not shown:
            raise InvalidInput(
                f"The scheduler at {session.endpoint} has no environment. Name clusters with "
                "--cluster, or make one: blox environments create --help"
            )
    else:
        shown = [_shown(client, name) for name in asked.environments]
    return tuple(_environment(each) for each in shown)


def _shown(client: Client, name: str) -> JsonObject:
    return client.get(path_in(find_environment(client, name)))


def _environment(shown: JsonObject) -> _Environment:
    newest, deployment = shown["revision"], shown["deployment"]
    definitions = [newest["taskDefinition"]]
    unseen = None
    if deployment is not None and deployment["revision"] != newest["number"]:
        definitions.append(deployment["taskDefinition"])
        unseen = deployment["revision"]
    return _Environment(
        Wanted(
            name=full_name(shown),
            cluster_arn=shown["clusterArn"],
            definitions=tuple(dict.fromkeys(definitions)),
            task=newest["task"] or {},
        ),
        unseen,
    )


async def _find(asked: _Asked, environments: Sequence[_Environment]) -> Found | None:
    """What ECS says of all that is named; None when nothing is. Raises BloxError."""
    wanted = [each.wanted for each in environments]
    needed = (
        () if asked.options.observe else tuple(arn for each in wanted for arn in each.definitions)
    )
    if not asked.clusters and not wanted:
        return None
    if not asked.clusters and not needed:
        return found_of((), wanted, {})

    from blox.app.aws import find_aws
    from blox.app.reads import ReadingTransport, ReadsOnly
    from blox.base.clock import SystemClock
    from blox.ecs.aws import ECS
    from blox.ecs.client import EcsClient
    from blox.ecs.pacing import Pacer
    from blox.settings import load_settings

    clock, settings = SystemClock(), load_settings()
    transport = ReadingTransport((await find_aws(clock)).transport(ECS, clock=clock))
    reads = ReadsOnly(
        EcsClient(
            transport,
            clock=clock,
            assumptions=settings.assumptions,
            pacer=Pacer(clock, settings.pacing),
        )
    )
    try:
        if len(set(needed)) > _SLOW:
            click.echo(f"asking ECS for {len(set(needed))} task definitions …", err=True)
        clusters = await find_clusters(reads, asked.clusters)
        return found_of(clusters, wanted, await find_definitions(reads, needed))
    finally:
        await transport.close()


# --- Printing -------------------------------------------------------------------------------------


def _printed(
    asked: _Asked, permitted: Permitted, found: Found | None
) -> tuple[Sequence[object], list[str]]:
    """The documents, and what is to be said of them."""
    if asked.kind == "iam":
        return _iam(permitted)
    watched = () if found is None else found.arns
    template = Template(
        permitted=permitted,
        watched=watched,
        runs_on=asked.runs_on,
        made_by=asked.typed(),
        version=__version__,
    )
    write: Callable[[Template], str] = (
        cloudformation if asked.kind == "cloudformation" else terraform
    )
    text = write(template)
    notes = []
    if too_many(watched):
        notes.append(
            f"the rule lets events of every cluster through: {len(watched)} ARNs do not fit into "
            f"a pattern of {PATTERN_LIMIT:,} characters. Events of others change nothing."
        )
    if asked.kind == "cloudformation":
        notes += _deploying(asked, text, found)
    else:
        notes.append("next: terraform init && terraform plan, in the folder that has it")
    return [text], notes


def _deploying(asked: _Asked, text: str, found: Found | None) -> list[str]:
    stack = "blox-state" if asked.options.state else "blox"
    words = [f"aws cloudformation deploy --template-file FILE --stack-name {stack}"]
    words.append("--capabilities CAPABILITY_IAM")
    if found is not None:
        words.append(f"--region {found.region}")
    if len(text.encode()) > INLINE_LIMIT:
        words.append("--s3-bucket BUCKET")
    if left := _left(asked, found):
        words.append("--parameter-overrides " + " ".join(f"{name}=…" for name in left))
    notes = [f"next: {' '.join(words)}"]
    if asked.runs_on is RunsOn.ELSEWHERE:
        notes.append("there is no role in it: attach the policy to the one that the scheduler has")
    return notes


def _iam(permitted: Permitted) -> tuple[Sequence[object], list[str]]:
    whole = statements(permitted)
    policies = documents(whole)
    sizes = [size(found) for found in policies]
    if len(policies) == 1:
        return [document(policies[0])], [
            f"{sizes[0]:,} of a managed policy's {LIMIT:,} characters",
            f"next: aws iam create-policy --policy-name {_policy_name(permitted)} "
            "--policy-document file://FILE",
        ]
    notes = [
        f"{size(whole):,} characters do not fit into one managed policy of {LIMIT:,}: this is a "
        f"list of {count(len(policies), 'policy', 'policies')} of up to {max(sizes):,}, to be "
        "attached together. The first alone: jq '.[0]'"
    ]
    if len(policies) > ATTACHED:
        notes.append(
            f"a role takes {ATTACHED} managed policies, unless AWS has raised that: use a role, "
            "and a scheduler, for each group of clusters"
        )
    return [document(found) for found in policies], notes


def _policy_name(permitted: Permitted) -> str:
    return "blox-state-service" if permitted.state else "blox-scheduler"


def _notes(asked: _Asked, found: Found | None, environments: Sequence[_Environment]) -> list[str]:
    """What is left to fill in, and what was left out."""
    notes = []
    if blanks := _left(asked, found):
        notes.append(f"to be filled in: {', '.join(blanks)}")
    if found is not None and needs_families(found, asked.options):
        notes.append("families and roles are known when environments are: --environment NAME")
    notes += [
        f"{name}: no environment there is named, so nothing may be started or stopped there"
        for name in looked_at(found, asked.options)
    ]
    notes += [
        f"{each.wanted.name}: revision {each.unseen} is in force, and not the newest. Its "
        "definition is covered; tags and roles in its task block are not"
        for each in environments
        if each.unseen is not None and not asked.options.observe
    ]
    if asked.options.observe:
        notes.append("reads alone: with it a scheduler can start and stop nothing")
    if asked.options.state:
        which = "the named clusters" if asked.clusters else "every cluster of the account"
        notes.append(f"reads alone, of {which}")
    return notes


def _left(asked: _Asked, found: Found | None) -> list[str]:
    """The names of the blanks."""
    names = {
        "iam": (["REGION", "ACCOUNT", "CLUSTER"], ["FAMILY", "TASK_ROLE", "EXECUTION_ROLE"]),
        "cloudformation": (["ClusterName"], ["Family", "TaskRoleArn", "ExecutionRoleArn"]),
        "terraform": (["cluster_arn"], ["family", "task_role_arn", "execution_role_arn"]),
    }
    where, what = names[asked.kind]
    left = where if found is None else []
    if found is None and asked.options.state:
        left = ["REGION", "ACCOUNT"] if asked.kind == "iam" else []
    return [*left, *what] if needs_families(found, asked.options) else left
