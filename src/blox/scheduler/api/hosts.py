"""Hosts as environments see them, the stories of what happened there, and what holds them."""

from collections.abc import Mapping
from typing import Final

from blox.base.errors import InvalidInput, NotFound
from blox.base.ids import short_id
from blox.http.operations import Answer, Call, Operation, Parameter, Returned
from blox.http.shapes import at
from blox.scheduler.api.bodies import (
    HostsPage,
    HostStory,
    OrphanBody,
    OrphansPage,
)
from blox.scheduler.api.bodies_hosts import HostExplained
from blox.scheduler.api.context import LIMIT, NEXT_TOKEN, PLACE, Api, answered, listing
from blox.scheduler.api.find import find_host
from blox.scheduler.api.host_paths import in_every_form, reference_of
from blox.scheduler.api.preview import preview
from blox.scheduler.api.resources import Inventory
from blox.scheduler.api.shown import hold_body, host_body, host_story, machine, task_body
from blox.scheduler.model import Environment, SlotClass
from blox.scheduler.reasons import REASONS, sentence
from blox.scheduler.report import SlotReport, daemon_of, slot_report, story
from blox.scheduler.verdicts import Verdict

_TAGS: Final = ("hosts",)


class Hosts:
    """The handlers."""

    def __init__(self, api: Api) -> None:
        self._api = api

    async def list_hosts(self, call: Call) -> Answer:
        """A page of the hosts of an environment's cluster."""
        environment = self._api.environment(call)
        wanted = _class_of(call.query.text("class"))
        verdicts = self._verdicts(environment)
        arns = sorted(
            arn
            for arn, verdict in verdicts.items()
            if wanted is None or verdict.slot_class is wanted
        )
        shown = listing(
            call,
            arns,
            key=lambda arn: arn,
            name=f"v2 hosts of {environment.id} {wanted}",
        )
        reports = (self._report(environment, arn, verdicts) for arn in shown.items)
        items = tuple(host_body(report) for report in reports if report is not None)
        return answered(HostsPage(items=items, next_token=shown.next_token))

    async def show(self, call: Call) -> Answer:
        """One host and its story."""
        environment = self._api.environment(call)
        reference = reference_of(call.params)
        seen = find_host(self._api.state.view, [environment.cluster_arn], reference)
        shown = self._story(environment, seen.host.arn)
        if shown is None:
            raise NotFound(
                f"The host {reference} has joined just now; {environment.name} has not looked at "
                "it yet."
            )
        return answered(shown)

    async def explain(self, call: Call) -> Answer:
        """One host and its story in every environment."""
        seen = find_host(self._api.state.view, self._api.clusters(), reference_of(call.params))
        stories = (
            self._story(environment, seen.host.arn)
            for environment in self._api.repository.environments()
            if environment.cluster_arn == seen.host.cluster_arn
        )
        state = self._api.state
        hold = state.hold_of(seen)
        inventory = Inventory(state, seen.host)
        return answered(
            HostExplained(
                host=machine(seen.host),
                hold=None if hold is None else hold_body(hold, seen.host.cluster_arn),
                resources=inventory.resources(),
                tasks=inventory.tasks(),
                environments=tuple(shown for shown in stories if shown is not None),
            )
        )

    async def list_orphans(self, call: Call) -> Answer:
        """A page of them."""
        orphans = sorted(self._api.service.orphans(), key=lambda orphan: orphan.task.arn)
        shown = listing(call, orphans, key=lambda orphan: orphan.task.arn, name="v2 orphans")
        items = tuple(
            OrphanBody(
                task=task_body(orphan.task),
                instance_id=self._api.instance_of(orphan.task.host_arn),
                host=orphan.task.host_arn,
                environment=orphan.environment_name,
                environment_id=orphan.environment_id,
                cluster=short_id(orphan.task.cluster_arn),
                deleted_at=at(orphan.deleted_at),
            )
            for orphan in shown.items
        )
        return answered(OrphansPage(items=items, next_token=shown.next_token))

    # --- Slots ------------------------------------------------------------------------------------

    def _verdicts(self, environment: Environment) -> Mapping[str, Verdict]:
        """By host: as decided, or what a first deployment would meet."""
        tracked = self._api.state.tracked.get(environment.id)
        if tracked is None:
            return {}
        if self._api.state.deployment_in_force(environment) is None:
            return preview(self._api.state, environment)
        return tracked.board.verdicts

    def _report(
        self, environment: Environment, host_arn: str, verdicts: Mapping[str, Verdict]
    ) -> SlotReport | None:
        tracked = self._api.state.tracked.get(environment.id)
        verdict = verdicts.get(host_arn)
        if tracked is None or verdict is None:
            return None
        if verdicts is tracked.board.verdicts:
            observing = self._api.scheduler.observing
            return slot_report(self._api.state, tracked, host_arn, observing=observing)
        seen = self._api.state.view.host(host_arn)
        if seen is None:
            return None
        reason = REASONS[verdict.reason]
        return SlotReport(
            host=seen.host,
            verdict=verdict.kind,
            would=False,
            slot_class=verdict.slot_class,
            reason=verdict.reason,
            sentence=sentence(verdict.reason, verdict.details),
            who=reason.who,
            next_step=reason.next_step,
            details=verdict.details,
            since_seconds=0.0,
            task=daemon_of(self._api.state, tracked, host_arn, verdict),
            attempts=0,
        )

    def _story(self, environment: Environment, host_arn: str) -> HostStory | None:
        report = self._report(environment, host_arn, self._verdicts(environment))
        if report is None:
            return None
        entries = story(self._api.state, environment.id, host_arn)
        return host_story(report, environment, entries, since=self._api.process.began_at)


def _class_of(text: str | None) -> SlotClass | None:
    if text is None:
        return None
    try:
        return SlotClass(text)
    except ValueError:
        known = ", ".join(SlotClass)
        raise InvalidInput(f"{text!r} is no class of hosts; known: {known}.") from None


_EVERY: Final = "/v2/environments/{cluster}/{name}/hosts"


def operations(api: Api) -> list[Operation]:
    """Every operation on hosts."""
    handlers = Hosts(api)
    return [
        *_lists(handlers),
        *in_every_form(
            Operation(
                method="GET",
                path=_EVERY,
                id="getHost",
                summary="Show one host of an environment, and its story",
                handle=handlers.show,
                tags=_TAGS,
                path_parameters=PLACE,
                answers={200: Returned(description="The host", body=HostStory)},
                errors=(404,),
            )
        ),
        *in_every_form(
            Operation(
                method="GET",
                path="/v2/hosts",
                id="explainHost",
                summary="Show one host, what runs and holds it, and every environment there",
                handle=handlers.explain,
                tags=_TAGS,
                answers={200: Returned(description="The host", body=HostExplained)},
                errors=(404,),
            )
        ),
    ]


def _lists(handlers: Hosts) -> list[Operation]:
    return [
        Operation(
            method="GET",
            path=_EVERY,
            id="listHosts",
            summary="Show every host of an environment's cluster and why it is as it is",
            handle=handlers.list_hosts,
            tags=_TAGS,
            path_parameters=PLACE,
            query=(
                Parameter(
                    name="class",
                    description="Only hosts in this class.",
                    choices=tuple(slot_class.value for slot_class in SlotClass),
                ),
                LIMIT,
                NEXT_TOKEN,
            ),
            answers={200: Returned(description="By ARN", body=HostsPage)},
        ),
        Operation(
            method="GET",
            path="/v2/orphans",
            id="listOrphans",
            summary="List live tasks of deleted environments",
            handle=handlers.list_orphans,
            tags=_TAGS,
            query=(LIMIT, NEXT_TOKEN),
            answers={200: Returned(description="By ARN", body=OrphansPage)},
            errors=(400,),
        ),
    ]
