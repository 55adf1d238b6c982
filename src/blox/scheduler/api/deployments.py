"""/v2/environments/…/deployments: bringing a revision into existence."""

from typing import Final

from blox.base.errors import Conflict, NotFound
from blox.http.operations import Answer, Call, Operation, Parameter, Returned
from blox.scheduler.api.bodies import DeploymentBody, DeploymentsPage
from blox.scheduler.api.context import (
    LIMIT,
    NEXT_TOKEN,
    PLACE,
    Api,
    answered,
    listing,
    path_of,
)
from blox.scheduler.api.find import deployment_of, read_token
from blox.scheduler.api.shown import deployment_body
from blox.scheduler.model import Deployment, Environment

_TAGS: Final = ("deployments",)


class Deployments:
    """The handlers."""

    def __init__(self, api: Api) -> None:
        self._api = api

    async def create(self, call: Call) -> Answer:
        """Deploy the newest revision."""
        environment = self._api.environment(call)
        supersede = call.query.flag("supersede")
        given = call.query.text("token")
        token = None if given is None else read_token(given)
        if token is not None and token != environment.token:
            raise Conflict(
                f"The environment {environment.name} has changed since this token was read: look "
                "at what would be deployed now, then use its new token."
            )
        deployment = await self._api.service.deploy(
            environment.id, token=token, supersede=supersede
        )
        after = self._api.repository.environment(environment.id)
        if after is None:
            raise NotFound("The environment was deleted at the same moment.")
        body = self._body(after, deployment)
        location = f"{path_of(environment)}/deployments/{deployment.id}"
        return answered(body, status=201, location=location)

    async def list_deployments(self, call: Call) -> Answer:
        """A page of them, newest first."""
        environment = self._api.environment(call)
        shown = listing(
            call,
            self._api.repository.deployments(environment.id),
            key=lambda deployment: deployment.sequence,
            name=f"v2 deployments of {environment.id}",
            descending=True,
        )
        items = tuple(self._body(environment, deployment) for deployment in shown.items)
        return answered(DeploymentsPage(items=items, next_token=shown.next_token))

    async def show(self, call: Call) -> Answer:
        """One of them."""
        environment = self._api.environment(call)
        deployment = deployment_of(self._api.repository, environment, call.params["id"])
        return answered(self._body(environment, deployment))

    def _body(self, environment: Environment, deployment: Deployment) -> DeploymentBody:
        report = self._api.answers.of(environment).report
        tracked = self._api.state.tracked.get(environment.id)
        if report.deployment is None or report.deployment.id != deployment.id or tracked is None:
            return deployment_body(environment, deployment, instance_of=self._api.instance_of)
        return deployment_body(
            environment,
            deployment,
            tally=report.tally,
            verdicts=tracked.board.verdicts,
            instance_of=self._api.instance_of,
        )


def operations(api: Api) -> list[Operation]:
    """Every operation on deployments."""
    handlers = Deployments(api)
    shown = Returned(description="The deployment", body=DeploymentBody)
    every = "/v2/environments/{cluster}/{name}/deployments"
    return [
        Operation(
            method="POST",
            path=every,
            id="createDeploymentV2",
            summary="Deploy an environment's newest revision",
            description="Content that is running already is not restarted: see `reused`.",
            handle=handlers.create,
            tags=_TAGS,
            path_parameters=PLACE,
            query=(
                Parameter(
                    name="supersede",
                    description="Take the place of a deployment that is in progress.",
                    kind="boolean",
                ),
                Parameter(
                    name="token",
                    description="Deploy only if the environment's token is still this one.",
                ),
            ),
            answers={201: shown},
            errors=(400, 404, 409, 503),
        ),
        Operation(
            method="GET",
            path=every,
            id="listDeploymentsV2",
            summary="List an environment's deployments",
            handle=handlers.list_deployments,
            tags=_TAGS,
            path_parameters=PLACE,
            query=(LIMIT, NEXT_TOKEN),
            answers={200: Returned(description="Newest first", body=DeploymentsPage)},
        ),
        Operation(
            method="GET",
            path=every + "/{id}",
            id="getDeploymentV2",
            summary="Show a deployment",
            handle=handlers.show,
            tags=_TAGS,
            path_parameters=(*PLACE, Parameter(name="id", description="The deployment's id.")),
            answers={200: shown},
            errors=(404,),
        ),
    ]
