"""Which tasks that others started become ours, and what they count as."""

import pytest
from msgspec.structs import replace

from blox.ecs.model import Task, TaskDefinition
from blox.scheduler.adoption import (
    Choice,
    Sorted,
    Why,
    content_of,
    heir_of,
    sort_out,
    with_adopted,
)
from blox.scheduler.daemons import Ownership, ownership
from blox.scheduler.model import AdoptedContent, Environment, Revision, digest_of
from support.judging import CLUSTER, NEW, definition, environment, task

OTHER = "arn:aws:ecs:eu-west-1:123456789012:task-definition/agent:1"


def by_hand(name: str = "h", host: str = "host-1", **more: object) -> Task:
    """A task of the family that somebody started."""
    values: dict[str, object] = {
        "deployment": "somebody",
        "intent": "",
        "group": "family:agent",
        "host_arn": host,
    }
    return task(name, **(values | more))  # type: ignore[arg-type]


def sorted_out(
    *tasks: Task, choice: Choice | None = None, busy: str = "", owner: str = "", all_: bool = False
) -> Sorted:
    return sort_out(
        tasks,
        environment(),
        choice or Choice(),
        owner=lambda _: owner,
        busy=lambda host: host == busy,
        all_of_them=all_,
    )


def why(*tasks: Task, **more: str) -> list[Why]:
    return [no.why for no in sorted_out(*tasks, **more).refused]  # type: ignore[arg-type]


class TestWhichOnes:
    def test_the_family_and_the_group_are_meant_unless_something_is_said(self) -> None:
        ours_once = by_hand("g", "host-2", definition_arn=f"{OTHER}x", group="blox:agent")
        foreign = by_hand("x", "host-3", definition_arn="a:task-definition/web:1", group="family:w")
        found = sorted_out(by_hand(), ours_once, foreign)
        assert {t.arn for t in found.adopted} == {by_hand().arn, ours_once.arn}

    @pytest.mark.parametrize(
        ("choice", "meant"),
        [
            (Choice(family="web"), "w"),
            (Choice(started_by="userdata"), "u"),
            (Choice(tasks=("u",)), "u"),
            (Choice(tasks=(by_hand("w").arn,)), "w"),
            (Choice(tasks=("u", "w"), started_by="userdata"), "u"),
        ],
    )
    def test_all_that_is_said_must_hold(self, choice: Choice, meant: str) -> None:
        web = by_hand("w", "host-2", definition_arn="a:task-definition/web:1")
        user = by_hand("u", "host-3", deployment="userdata")
        assert [t.arn for t in sorted_out(web, user, choice=choice).adopted] == [by_hand(meant).arn]

    def test_ours_are_counted_not_adopted(self) -> None:
        found = sorted_out(task(), task("b", intent=None, deployment="d1"))
        assert (found.adopted, found.already) == ((), 2)

    def test_ended_ones_are_nothing(self) -> None:
        assert sorted_out(by_hand(last_status="STOPPED")) == Sorted()


class TestRefusals:
    def test_a_services_task_would_be_started_again(self) -> None:
        assert why(by_hand(group="service:logs")) == [Why.SERVICE]
        assert why(by_hand(deployment="ecs-svc/123")) == [Why.SERVICE]
        (no,) = sorted_out(by_hand(group="service:logs")).refused
        assert "blox migrate service/logs" in no.sentence

    def test_another_environments_task_is_its_own(self) -> None:
        assert why(by_hand(), owner="metrics") == [Why.OTHER]

    def test_one_that_is_being_stopped(self) -> None:
        assert why(by_hand(desired_status="STOPPED")) == [Why.STOPPING]

    def test_one_that_runs_on_no_host(self) -> None:
        assert why(by_hand(host="")) == [Why.NO_HOST]

    def test_one_where_the_environment_has_or_may_get_a_daemon(self) -> None:
        assert why(by_hand(), busy="host-1") == [Why.BUSY]

    def test_of_two_on_one_host_the_older_is_adopted(self) -> None:
        old, young = by_hand("z", age=50.0), by_hand("a", age=5.0)
        found = sorted_out(young, old)
        assert [t.arn for t in found.adopted] == [old.arn]
        assert [no.why for no in found.refused] == [Why.SECOND]

    def test_both_when_they_are_to_be_replaced(self) -> None:
        found = sorted_out(by_hand("z"), by_hand("a", age=5.0), all_=True)
        assert len(found.adopted) == 2
        assert found.refused == ()


class TestWhatTheyCountAs:
    def test_the_revision_that_runs_the_same_definition(self) -> None:
        content = content_of(definition(), environment(), deployed=None, replace=False)
        assert content.digest == NEW

    def test_the_deployed_one_comes_first(self) -> None:
        content = content_of(definition(), environment(), deployed=1, replace=False)
        assert content.digest == "old-digest"

    def test_another_definition_counts_as_itself_without_options(self) -> None:
        other = TaskDefinition(task_definition_arn=OTHER, family="agent")
        content = content_of(other, environment(), deployed=2, replace=False)
        assert content.digest == digest_of(OTHER, {})

    def test_to_be_replaced_is_what_nobody_ever_deploys(self) -> None:
        content = content_of(definition(), environment(), deployed=2, replace=True)
        assert content.digest not in {revision.digest for revision in environment().revisions}

    def test_adopting_makes_them_ours_by_name_and_restarts_change_nothing(self) -> None:
        content = content_of(definition(), environment(), deployed=2, replace=False)
        adopted, contents = with_adopted(environment(), [(by_hand(), content)])
        after = replace(environment(), adopted=adopted, adopted_contents=contents)
        assert ownership(by_hand(), after) is Ownership.OURS
        assert after.digest_of(by_hand()) == NEW
        assert ownership(by_hand("other"), after) is Ownership.FOREIGN


class TestHeirs:
    def old(self, **more: object) -> Environment:
        content = AdoptedContent(digest="hand", definition=definition())
        values: dict[str, object] = {
            "id": "old",
            "deployed": {"gone": OLD_DIGEST},
            "revisions": (Revision(number=7, definition=definition(), digest=OLD_DIGEST),),
            "adopted": {"h": 0},
            "adopted_contents": (content,),
            "deleted_at": 5.0,
        }
        return replace(environment(), **(values | more))

    def test_the_heir_has_the_daemons_of_the_dead(self) -> None:
        heir = heir_of(replace(environment(), deployed={}), [self.old()])
        left = task("left", deployment="gone")
        assert ownership(left, heir) is Ownership.OURS
        assert heir.digest_of(left) == OLD_DIGEST
        assert heir.digest_of(by_hand("h")) == "hand"
        assert heir.cluster_arn == CLUSTER

    def test_of_several_everything(self) -> None:
        older = self.old(id="older", deployed={"before": "b"}, adopted={}, deleted_at=1.0)
        heir = heir_of(replace(environment(), deployed={}), [self.old(), older])
        assert list(heir.deployed) == ["before", "gone"]

    def test_a_lost_past_is_inherited_too(self) -> None:
        assert heir_of(environment(), [self.old(lost_past=True)]).lost_past

    def test_nobody_leaves_nothing(self) -> None:
        assert heir_of(environment(), []) == environment()


OLD_DIGEST = "what ran before"
