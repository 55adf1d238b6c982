"""/v1: the contract of 0.3, for clients that were written for it.

Success bodies and texts are what they were. Where the present is richer than the contract, it is
told in the contract's words: a deployment that failed is still `running`, because it never
completed, and its environment is unhealthy.
"""

from collections.abc import Mapping
from typing import Final, Literal

from msgspec import Struct

from blox.base.errors import Conflict, InvalidInput, NotFound
from blox.http.operations import Answer, Call, Operation, Parameter, Returned
from blox.http.pages import page
from blox.http.problems import Refused
from blox.http.texts import INVALID_CLUSTER
from blox.scheduler.api.context import NAME, NEXT_TOKEN, Api, sort_key
from blox.scheduler.api.find import deployment_of, on_cluster, read_token
from blox.scheduler.deployments import v1_status
from blox.scheduler.model import Deployment, DeploymentStatus, Environment
from blox.scheduler.service import Wish
from blox.scheduler.takeover import WouldStrand

_TAGS: Final = ("v1",)
_ATTEMPTS: Final = 5
_Word = Literal["pending", "running", "completed"]
_WORDS: Final[Mapping[str, _Word]] = {
    "pending": "pending",
    "running": "running",
    "completed": "completed",
}
_ID: Final = Parameter(name="id", description="The deployment's id.")
_CLUSTER: Final = Parameter(name="cluster", description="Only those on it: a name or an ARN.")
_TOKEN: Final = Parameter(
    name="deploymentToken",
    description="The environment's present token; each accepted deployment or change renews it.",
    required=True,
)
_IGNORED_TOKEN: Final = Parameter(name="deploymentToken", description="Accepted and ignored.")


class InstanceGroup(Struct, frozen=True, kw_only=True):
    """The hosts of one cluster."""

    cluster: str


class CreateEnvironmentRequest(Struct, frozen=True, kw_only=True, rename="camel"):
    """What should run on which cluster."""

    name: str
    """1 to 30 letters, digits, hyphens and underscores."""
    instance_group: InstanceGroup
    task_definition: str


class V1Environment(Struct, frozen=True, kw_only=True, rename="camel"):
    """What runs where, and how that goes."""

    name: str
    deployment_token: str
    instance_group: InstanceGroup
    task_definition: str
    health: Literal["healthy", "unhealthy"]


class V1Environments(Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """A page of environments."""

    items: tuple[V1Environment, ...]
    next_token: str | None = None


class V1Deployment(Struct, frozen=True, kw_only=True, rename="camel"):
    """One roll-out of an environment."""

    id: str
    status: _Word
    task_definition: str
    environment_name: str
    failed_instances: tuple[str, ...]
    """ARNs of the container instances where it fails now."""


class V1Deployments(Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """A page of deployments."""

    items: tuple[V1Deployment, ...]
    next_token: str | None = None


class V1:
    """The handlers."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._creating: set[str] = set()

    # --- Process ----------------------------------------------------------------------------------

    async def ping(self, _: Call) -> Answer:
        """Whether this process can serve."""
        reason = self._api.process.ready()
        if reason is not None:
            raise Refused(503, reason)
        return Answer()

    # --- Environments -----------------------------------------------------------------------------

    async def create(self, call: Call) -> Answer:
        """A new environment, not deployed yet."""
        asked = call.decode(CreateEnvironmentRequest)
        if asked.name in self._creating:
            # Its name is not stored yet: two requests for two clusters would both find it free.
            raise Conflict(f"An environment named {asked.name} is being created at this moment.")
        self._creating.add(asked.name)
        try:
            environment = await self._api.service.create(
                asked.name,
                asked.instance_group.cluster,
                Wish(task_definition=asked.task_definition),
                unique_everywhere=True,
            )
        finally:
            self._creating.discard(asked.name)
        self._api.process.environment_created()
        return Answer(body=self._environment(environment))

    async def list_environments(self, call: Call) -> Answer:
        """A page of them."""
        cluster = call.query.values.get("cluster")
        environments = on_cluster(self._api.repository.environments(), cluster)
        shown = page(
            environments,
            key=sort_key,
            token=call.query.text("nextToken"),
            listing=f"v1 environments of {cluster}",
        )
        items = tuple(self._environment(environment) for environment in shown.items)
        return Answer(body=V1Environments(items=items, next_token=shown.next_token))

    async def show_environment(self, call: Call) -> Answer:
        """One of them."""
        return Answer(body=self._environment(self._named(call)))

    async def delete(self, call: Call) -> Answer:
        """Idempotent: what is not there is deleted."""
        for _ in range(_ATTEMPTS):
            environment = self._api.directory.named(call.params["name"])
            if environment is None:
                return Answer()
            try:
                await self._api.service.delete(environment.id)
            except WouldStrand:
                raise
            except Conflict:
                continue  # It was changed at the same moment: delete what it is now.
            return Answer()
        raise Conflict("The environment changes all the time; try again.")

    def _named(self, call: Call) -> Environment:
        name = call.params["name"]
        environment = self._api.directory.named(name)
        if environment is None:
            raise NotFound(f"There is no environment named {name}.")
        return environment

    def _environment(self, environment: Environment) -> V1Environment:
        report = self._api.answers.of(environment).report
        return V1Environment(
            name=environment.name,
            deployment_token=environment.token,
            instance_group=InstanceGroup(cluster=environment.cluster_arn),
            task_definition=environment.newest.definition_arn,
            health="healthy" if report.healthy else "unhealthy",
        )

    # --- Deployments ------------------------------------------------------------------------------

    async def deploy(self, call: Call) -> Answer:
        """Deploy what is stored; the token says that the caller knows what that is."""
        given = call.query.values.get("deploymentToken", "")
        if not given:
            raise InvalidInput("The deployment token is missing: ?deploymentToken=UUID is needed.")
        token = read_token(given)
        environment = self._named(call)
        deployment = await self._api.service.deploy(environment.id, token=token)
        return Answer(body=self._deployment(environment.id, deployment))

    async def list_deployments(self, call: Call) -> Answer:
        """A page of them, newest first."""
        environment = self._named(call)
        shown = page(
            self._api.repository.deployments(environment.id),
            key=lambda deployment: deployment.sequence,
            token=call.query.text("nextToken"),
            listing=f"v1 deployments of {environment.id}",
            descending=True,
        )
        items = tuple(self._deployment(environment.id, deployment) for deployment in shown.items)
        return Answer(body=V1Deployments(items=items, next_token=shown.next_token))

    async def show_deployment(self, call: Call) -> Answer:
        """One of them."""
        environment = self._named(call)
        deployment = deployment_of(self._api.repository, environment, call.params["id"])
        return Answer(body=self._deployment(environment.id, deployment))

    def _deployment(self, environment_id: str, deployment: Deployment) -> V1Deployment:
        environment = self._api.repository.environment(environment_id)
        if environment is None:
            raise NotFound("The environment was deleted at the same moment.")
        report = self._api.answers.of(environment).report
        in_force = report.deployment is not None and report.deployment.id == deployment.id
        begun = deployment.status is not DeploymentStatus.PENDING
        return V1Deployment(
            id=deployment.id,
            status=_WORDS[v1_status(deployment)],
            task_definition=environment.revision(deployment.revision).definition_arn,
            environment_name=environment.name,
            failed_instances=report.failed_hosts if in_force and begun else (),
        )


def operations(api: Api) -> list[Operation]:
    """Every operation of /v1."""
    v1 = V1(api)
    ping = Operation(
        method="GET",
        path="/v1/ping",
        id="ping",
        summary="This process can serve",
        handle=v1.ping,
        tags=_TAGS,
        errors=(503,),
        any_query=True,
    )
    return [ping, *_on_environments(v1), *_on_deployments(v1)]


def _on_environments(v1: V1) -> list[Operation]:
    shown = Returned(description="The environment", body=V1Environment)
    return [
        Operation(
            method="POST",
            path="/v1/environments",
            id="createEnvironment",
            summary="Create an environment",
            description="It does nothing until a deployment is created with its token.",
            handle=v1.create,
            tags=_TAGS,
            body=CreateEnvironmentRequest,
            answers={200: shown},
            errors=(400, 404, 503),
        ),
        Operation(
            method="GET",
            path="/v1/environments",
            id="listEnvironments",
            summary="List environments",
            description=f"A cluster that is neither name nor ARN is refused: `{INVALID_CLUSTER}`.",
            handle=v1.list_environments,
            tags=_TAGS,
            query=(_CLUSTER, NEXT_TOKEN),
            answers={200: Returned(description="By cluster, then name", body=V1Environments)},
            errors=(400,),
        ),
        Operation(
            method="GET",
            path="/v1/environments/{name}",
            id="getEnvironment",
            summary="Show an environment",
            handle=v1.show_environment,
            tags=_TAGS,
            path_parameters=(NAME,),
            answers={200: shown},
        ),
        Operation(
            method="DELETE",
            path="/v1/environments/{name}",
            id="deleteEnvironment",
            summary="Delete an environment",
            description="Its tasks go on running. Succeeds too when there is none.",
            handle=v1.delete,
            tags=_TAGS,
            path_parameters=(NAME,),
            errors=(400, 503),
        ),
    ]


def _on_deployments(v1: V1) -> list[Operation]:
    shown = Returned(description="The deployment", body=V1Deployment)
    every = "/v1/environments/{name}/deployments"
    return [
        Operation(
            method="POST",
            path=every,
            id="createDeployment",
            summary="Deploy what is stored",
            handle=v1.deploy,
            tags=_TAGS,
            path_parameters=(NAME,),
            query=(_TOKEN,),
            answers={200: shown},
            errors=(400, 404, 503),
        ),
        Operation(
            method="GET",
            path=every,
            id="listDeployments",
            summary="List an environment's deployments",
            handle=v1.list_deployments,
            tags=_TAGS,
            path_parameters=(NAME,),
            query=(_IGNORED_TOKEN, NEXT_TOKEN),
            answers={200: Returned(description="Newest first", body=V1Deployments)},
        ),
        Operation(
            method="GET",
            path=every + "/{id}",
            id="getDeployment",
            summary="Show a deployment",
            handle=v1.show_deployment,
            tags=_TAGS,
            path_parameters=(NAME, _ID),
            answers={200: shown},
        ),
    ]
