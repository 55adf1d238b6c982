"""What requests mean, what bodies say, and what a name in a path stands for."""

from collections.abc import Iterable, Mapping

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blox.base.errors import InvalidInput, NotFound
from blox.cli.environments import difference
from blox.ecs.model import Host, TaskDefinition
from blox.ecs.seen import HostSeen
from blox.http.shapes import at, moment
from blox.scheduler.adoption import Choice
from blox.scheduler.api.bodies import EnvironmentPatch, NewEnvironment, PolicyWish
from blox.scheduler.api.bodies_orders import AdoptionWish
from blox.scheduler.api.find import Directory, find_host, on_cluster, read_token
from blox.scheduler.api.shown import (
    counters,
    deployment_body,
    freeze_body,
    migration_body,
    next_step,
)
from blox.scheduler.api.wishes import (
    choice_of,
    etag_of,
    existing_of,
    merged,
    policy_after,
    precondition_holds,
    wish_after,
    wish_of,
)
from blox.scheduler.board import Tally, recount
from blox.scheduler.model import (
    WANTED,
    Deployment,
    DeploymentStatus,
    Environment,
    FailureCause,
    Freeze,
    Gaps,
    Migration,
    Policy,
    Revision,
    SlotClass,
    VerdictKind,
)
from blox.scheduler.report import failure_of, left_behind
from blox.scheduler.verdicts import Verdict

CLUSTER = "arn:aws:ecs:us-east-1:111122223333:cluster/demo"
FOREIGN = "arn:aws:ecs:eu-west-1:999922223333:cluster/demo"
AGENT = "arn:aws:ecs:us-east-1:111122223333:task-definition/agent:1"


def environment(name: str = "logs", cluster: str = CLUSTER, **more: object) -> Environment:
    revision = Revision(
        number=1,
        definition=TaskDefinition(task_definition_arn=AGENT),
        selector="attribute:a exists",
        task={"tags": [], "overrides": {"cpu": "1", "memory": "2"}},
    )
    content = {
        "id": f"id of {name} on {cluster}",
        "name": name,
        "cluster_arn": cluster,
        "revisions": (revision,),
        "token": "t",
    }
    return Environment(**{**content, **more})  # type: ignore[arg-type]


# --- Merge patches --------------------------------------------------------------------------------

# The examples of RFC 7396, appendix A, whose target and patch are objects.
RFC_7396 = [
    ({"a": "b"}, {"a": "c"}, {"a": "c"}),
    ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
    ({"a": "b"}, {"a": None}, {}),
    ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
    ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
    ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
    ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
    ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
    ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
    ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
]


@pytest.mark.parametrize(("value", "patch", "result"), RFC_7396)
def test_merging_follows_the_rfc(
    value: Mapping[str, object], patch: Mapping[str, object], result: object
) -> None:
    before = msgspec.json.encode(value)
    assert merged(value, patch) == result
    assert msgspec.json.encode(value) == before


_leaves = st.integers() | st.text(max_size=3) | st.booleans() | st.lists(st.integers(), max_size=2)
_objects = st.recursive(
    st.dictionaries(st.sampled_from("abc"), _leaves, max_size=3),
    lambda inner: st.dictionaries(st.sampled_from("abc"), _leaves | inner, max_size=3),
    max_leaves=8,
)


@given(old=_objects, new=_objects)
def test_the_difference_of_two_blocks_makes_the_second_of_the_first(
    old: dict[str, object], new: dict[str, object]
) -> None:
    assert merged(old, difference(old, new)) == new


def test_a_patch_leaves_what_it_does_not_name() -> None:
    wish = wish_after(environment(), EnvironmentPatch())
    assert (wish.task_definition, wish.selector, wish.task, wish.policy) == (msgspec.UNSET,) * 4


def test_null_in_a_patch_takes_away() -> None:
    patch = msgspec.json.decode(
        b'{"selector": null, "task": null, "policy": null}', type=EnvironmentPatch
    )
    wish = wish_after(environment(policy=Policy(max_unavailable="5")), patch)
    assert (wish.selector, wish.task, wish.policy) == ("", {}, Policy())


def test_a_patch_of_the_task_block_is_merged_into_it() -> None:
    patch = msgspec.json.decode(
        b'{"task": {"tags": null, "overrides": {"cpu": "9"}}}', type=EnvironmentPatch
    )
    assert wish_after(environment(), patch).task == {"overrides": {"cpu": "9", "memory": "2"}}


@pytest.mark.parametrize(
    "body",
    [
        b'{"taskDefinition": null}',
        b'{"name": "other"}',
        b'{"task_definition": "a"}',
        b'{"policy": {"maxUnavailable": 1.5}}',
        b'{"policy": {"maxUnavailable": true}}',
        b'{"task": []}',
        b"null",
    ],
)
def test_a_patch_that_does_not_fit_is_not_read(body: bytes) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(body, type=EnvironmentPatch)


def test_a_new_environment_has_defaults() -> None:
    asked = NewEnvironment(name="logs", cluster="demo", task_definition="agent")
    wish = wish_of(asked)
    assert (wish.task_definition, wish.selector, wish.task) == ("agent", "", {})
    assert wish.policy == Policy()


# --- Policies -------------------------------------------------------------------------------------


def test_a_policy_changes_only_where_it_is_told() -> None:
    before = Policy(max_unavailable="3", min_healthy_seconds=1.0, drain_deadline=2.0)
    assert policy_after(before, PolicyWish()) == before
    after = policy_after(before, PolicyWish(max_unavailable=7, drain_deadline=None))
    assert after == Policy(max_unavailable="7", min_healthy_seconds=1.0)


@pytest.mark.parametrize("text", ["", "%", "half", "-1", "1.5", "10 %", "²", "٣", "1e3", "9" * 10])
def test_what_is_no_allowance_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="maxUnavailable"):
        policy_after(Policy(), PolicyWish(max_unavailable=text))


# --- Preconditions --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "holds"),
    [
        ('"t"', True),
        ("*", True),
        ('"a", "t"', True),
        ('"a" ,"t"', True),
        ('W/"t"', False),
        ("t", False),
        ('"T"', False),
        ("", False),
        ('"a"', False),
        ('*, "a"', False),
    ],
)
def test_a_precondition_compares_strong_tags(header: str, holds: bool) -> None:
    assert precondition_holds(header, "t") is holds
    assert etag_of("t") == '"t"'


# --- Names ----------------------------------------------------------------------------------------


class Stored:
    """As much of a repository as a directory asks for."""

    def __init__(self, *environments: Environment) -> None:
        self.listed = environments

    def environments(self) -> tuple[Environment, ...]:
        return self.listed

    def named(self, name: str) -> list[Environment]:
        return [found for found in self.listed if found.name == name]


def directory(stored: Stored, *, served: str = CLUSTER) -> Directory:
    return Directory(stored, served=lambda e: e.cluster_arn == served)  # type: ignore[arg-type]


def test_an_environment_is_found_by_cluster_and_name_and_gone_when_deleted() -> None:
    logs, metrics = environment("logs"), environment("metrics")
    stored = Stored(logs, metrics)
    names = directory(stored)
    assert names.environment("demo", "metrics") is metrics
    for cluster, name in (("demo", "traces"), ("other", "logs"), ("a b", "logs")):
        with pytest.raises(NotFound):
            names.environment(cluster, name)
    stored.listed = (logs,)
    with pytest.raises(NotFound):
        names.environment("demo", "metrics")


def test_of_two_domains_in_one_store_ours_is_meant() -> None:
    ours, theirs = environment(), environment(cluster=FOREIGN)
    stored = Stored(theirs, ours)
    assert directory(stored).environment("demo", "logs") is ours
    assert directory(stored, served=FOREIGN).environment("demo", "logs") is theirs
    assert directory(stored, served="none").environment("demo", "logs") is theirs


def test_a_name_without_a_cluster_must_stand_once() -> None:
    ours, theirs = environment(), environment(cluster=FOREIGN)
    assert directory(Stored(ours)).named("logs") is ours
    assert directory(Stored(ours)).named("none") is None
    with pytest.raises(InvalidInput, match="2 clusters"):
        directory(Stored(ours, theirs)).named("logs")


def test_a_cluster_filters_by_name_or_arn() -> None:
    both = [environment(), environment(cluster=FOREIGN)]
    assert on_cluster(both, None) == on_cluster(both, "demo") == both
    assert on_cluster(both, FOREIGN) == both[1:]
    assert on_cluster(both, "other") == []
    with pytest.raises(InvalidInput, match="Invalid cluster ARN or name"):
        on_cluster(both, "a/b")


def test_a_token_is_a_uuid_in_any_case() -> None:
    text = "0B7C6A3E-7F52-4D25-9D3C-0123456789AB"
    assert read_token(text) == text.lower()
    for bad in ("", "x", text[:-1], text + "0", f"{{{text}}}", text.replace("-", ""), text + "\n"):
        with pytest.raises(InvalidInput, match="malformed"):
            read_token(bad)


class Seen:
    """A view of two clusters with a host each, the first registered twice."""

    def __init__(self) -> None:
        old = self._host("demo", "1" * 32, "i-1", superseded_by="x")
        self.all = {
            CLUSTER: [old, self._host("demo", "2" * 32, "i-1")],
            FOREIGN: [self._host("other", "3" * 32, "mi-3")],
        }

    @staticmethod
    def _host(cluster: str, id_: str, instance: str, superseded_by: str | None = None) -> HostSeen:
        arn = f"arn:aws:ecs:us-east-1:111122223333:container-instance/{cluster}/{id_}"
        host = Host(arn=arn, cluster_arn=CLUSTER, instance_id=instance)
        if cluster == "other":
            host = Host(arn=arn, cluster_arn=FOREIGN, instance_id=instance)
        return HostSeen(host=host, superseded_by=superseded_by)

    def hosts(self, cluster_arn: str) -> Iterable[HostSeen]:
        return self.all.get(cluster_arn, ())

    def host(self, host_arn: str) -> HostSeen | None:
        every = (seen for listed in self.all.values() for seen in listed)
        return next((seen for seen in every if seen.host.arn == host_arn), None)


def test_a_host_is_found_by_each_of_its_names() -> None:
    view = Seen()
    (old, new), (external,) = view.all.values()
    both = [CLUSTER, FOREIGN]

    def find(reference: str, clusters: list[str] = both) -> HostSeen:
        return find_host(view, clusters, reference)  # type: ignore[arg-type]

    assert find("i-1") is find("2" * 32) is find(new.host.arn) is new
    assert find("1" * 32) is find(old.host.arn) is old
    assert find("mi-3") is external
    for reference in ("mi-3", external.host.arn, "", "i-", "arn:aws"):
        with pytest.raises(NotFound, match="on the cluster demo"):
            find(reference, [CLUSTER])
    with pytest.raises(NotFound, match="on any watched cluster"):
        find("i-9")


# --- Taking over, and leaving alone ---------------------------------------------------------------


@pytest.mark.parametrize("text", ["adopt", "stop", "beside", "wait"])
def test_what_to_do_about_what_runs_is_said_in_one_word(text: str) -> None:
    body = b'{"name": "a", "cluster": "c", "taskDefinition": "t", "existing": "%s"}'
    asked = msgspec.json.decode(body % text.encode(), type=NewEnvironment)
    assert existing_of(asked) == text


@pytest.mark.parametrize("more", [b"", b', "existing": null'])
def test_saying_nothing_about_what_runs_asks(more: bytes) -> None:
    body = b'{"name": "a", "cluster": "c", "taskDefinition": "t"%s}'
    asked = msgspec.json.decode(body % more, type=NewEnvironment)
    assert (existing_of(asked), asked.accept_no_scale_in) == (None, False)


def test_null_takes_a_policys_members_away() -> None:
    policy = Policy(beside=True, when_idle=900.0)
    wish = msgspec.json.decode(b'{"beside": null, "whenIdle": null}', type=PolicyWish)
    assert policy_after(policy, wish) == Policy()
    assert policy_after(policy, PolicyWish()) == policy
    wish = msgspec.json.decode(b'{"beside": true, "whenIdle": 60}', type=PolicyWish)
    assert policy_after(Policy(), wish) == Policy(beside=True, when_idle=60.0)


def test_the_tasks_to_adopt_are_all_that_was_given() -> None:
    assert choice_of(AdoptionWish()) == Choice()
    wish = msgspec.json.decode(
        b'{"family": "agent", "startedBy": "me", "tasks": ["a", "b"]}', type=AdoptionWish
    )
    assert choice_of(wish) == Choice(family="agent", started_by="me", tasks=("a", "b"))
    for family in ("agent:3", "a b", "arn:aws:ecs:us-east-1:1:task-definition/agent"):
        with pytest.raises(InvalidInput, match="no family"):
            choice_of(AdoptionWish(family=family))


def test_a_freeze_names_what_it_is_about() -> None:
    def shown(scope: str, target: str) -> tuple[object, object]:
        freeze = Freeze(id="f", scope=scope, target=target, why="x", until=1.0)  # type: ignore[arg-type]
        body = freeze_body(freeze)
        return body.cluster, body.environment

    assert shown("everything", "") == (None, None)
    assert shown("cluster", CLUSTER) == ("demo", None)
    assert shown("environment", environment().place) == ("demo", "logs")


def test_a_migration_tells_of_its_gaps() -> None:
    migration = Migration(
        environment_id="e",
        cluster_arn=CLUSTER,
        service="shipper",
        attribute="blox.logs",
        there=Gaps(hosts=3, measured=3, worst=8.12345, total=20.0),
    )
    shown = migration_body(migration)
    assert (shown.service, shown.moved, shown.worst_gap_seconds) == ("shipper", 3, 8.123)
    assert (shown.total_gap_seconds, shown.back) == (20.0, False)


# --- Bodies ---------------------------------------------------------------------------------------


@given(st.lists(st.sampled_from(SlotClass)))
def test_the_counters_add_up_whatever_the_slots_are(classes: list[SlotClass]) -> None:
    verdicts = [
        Verdict(
            kind=VerdictKind.KEEP, slot_class=c, reason="current", available=c is SlotClass.CURRENT
        )
        for c in classes
    ]
    shown = msgspec.to_builtins(counters(recount(verdicts)))
    wanted = [c.value for c in SlotClass if c in WANTED]
    others = [c.value for c in SlotClass if c not in WANTED and c is not SlotClass.SUPERSEDED]
    assert shown["wanted"] == sum(shown[name] for name in wanted)
    assert shown["hosts"] == shown["wanted"] + sum(shown[name] for name in others)
    assert shown["hosts"] + shown["superseded"] == len(classes)
    assert shown["unavailable"] == shown["wanted"] - shown["current"]


def test_times_are_utc_to_the_millisecond() -> None:
    assert msgspec.json.encode(at(1_750_000_000.12345)) == b'"2025-06-15T15:06:40.123000Z"'
    assert moment(None) is None
    assert moment(0.0) == at(0.0)


def test_a_next_step_names_a_time_where_it_is_known() -> None:
    assert next_step("waits", {}) == "waits"
    text = "starts again at {retry}"
    assert next_step(text, {"retry": "1750000000.5"}) == "starts again at 15:06:40 UTC"
    assert next_step(text, {}) == "starts again when its back-off is over"


def deployment(status: DeploymentStatus) -> Deployment:
    cause = FailureCause(code="backoff", sentence="died young", hosts=("a", "b"), count=2)
    return Deployment(
        id="d", environment_id="e", sequence=1, revision=1, status=status, causes=(cause,)
    )


VERDICTS = {
    host: Verdict(kind=VerdictKind.KEEP, slot_class=slot_class, reason="current")
    for host, slot_class in (
        ("a", SlotClass.CURRENT),
        ("b", SlotClass.OUTDATED),
        ("c", SlotClass.AWAY),
        ("d", SlotClass.FAILING),
    )
}


def test_a_failed_deployment_makes_unhealthy_until_its_hosts_got_on() -> None:
    failed = deployment(DeploymentStatus.FAILED)
    behind = left_behind(failed, VERDICTS)
    (problem,) = failure_of(failed, behind)
    assert behind == ["b", "d"]
    assert problem.count == 2
    assert "died young" in problem.sentence
    mended = left_behind(failed, {"a": VERDICTS["a"], "c": VERDICTS["c"]})
    assert failure_of(failed, mended) == ()


@pytest.mark.parametrize("status", [s for s in DeploymentStatus if s != DeploymentStatus.FAILED])
def test_other_deployments_leave_nobody_behind(status: DeploymentStatus) -> None:
    assert left_behind(deployment(status), VERDICTS) == []


def test_a_deployment_counts_only_while_it_is_in_force() -> None:
    tally = Tally(classes={SlotClass.CURRENT: 2}, available=2)
    made = deployment(DeploymentStatus.FAILED)
    instances = {"a": "i-a", "b": ""}
    in_force = deployment_body(environment(), made, tally=tally, instance_of=instances.__getitem__)
    assert in_force.in_force
    assert in_force.counts is not None
    assert in_force.counts.hosts == 2
    (cause,) = in_force.causes
    assert [(host.instance_id, host.arn) for host in cause.hosts] == [("i-a", "a"), ("", "b")]
    older = deployment_body(environment(), made)
    assert (older.in_force, older.counts, older.waiting) == (False, None, ())
