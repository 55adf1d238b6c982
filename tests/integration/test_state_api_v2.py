"""/v2 of the cluster-state-service, over HTTP: lists, filters, pages, clusters, sweeps, status."""

import asyncio
import re
from typing import Any
from urllib.parse import quote, urlencode

import pytest

from blox.clusterstate.api.context import (
    Condition,
    QueueSeen,
    StateInfo,
    StoreSeen,
)
from blox.clusterstate.ingest import Rejected
from blox.simulator.cloud import Cloud
from support.api_v2 import problem
from support.documents import CLUSTER, PREFIX, host_arn, task_arn
from support.entities import INSTANCE, TASK
from support.statestore import Bench, by_hand, on_a_state_service


def fleet(cloud: Cloud, now: float) -> None:
    """Two hosts of stack blue, one of green; a task of service web on each, and one of ops on the
    first."""
    for number, stack in enumerate(("blue", "blue", "green")):
        arn = cloud.add_host(
            "demo", now=now, instance_id=f"i-{number:017x}", attributes={"stack": stack}
        )
        cloud.start_foreign("demo", arn, "agent", now=now, service="web")
    cloud.start_foreign("demo", sorted(cloud.hosts)[0], "agent", now=now)


def found(bench: Bench, path: str, **query: object) -> list[Any]:
    """The items of a list, which fits on one page."""
    page = bench.get(f"{path}?{urlencode({k: str(v) for k, v in query.items()})}")
    assert "nextToken" not in page
    items = page["items"]
    assert isinstance(items, list)
    return items


def named(items: list[Any]) -> list[str]:
    return [item["arn"] for item in items]


# --- Items ----------------------------------------------------------------------------------------


def test_an_item_has_everything_that_ecs_tells_under_its_names() -> None:
    def work(bench: Bench) -> None:
        (task,) = found(bench, "/v2/tasks")
        host = bench.world(lambda cloud, _: next(iter(cloud.hosts)))
        assert (task["kind"], task["cluster"], task["clusterArn"]) == ("task", "demo", CLUSTER)
        assert task["readAt"].endswith("Z")
        told = task["task"]
        assert told["taskArn"] == task["arn"]
        assert told["containerInstanceArn"] == host
        assert told["healthStatus"] == "UNKNOWN"
        assert told["group"] == "family:agent"
        assert told["launchType"] == "EC2"
        assert told["createdAt"].endswith("Z")
        assert told["containers"][0]["name"] == "agent"
        (instance,) = found(bench, "/v2/instances")
        assert (instance["kind"], instance["arn"]) == ("instance", host)
        assert instance["instance"]["registeredAt"].endswith("Z")
        assert instance["instance"]["pendingTasksCount"] == 1

    def furnish(cloud: Cloud, now: float) -> None:
        cloud.start_foreign("demo", next(iter(cloud.hosts)), "agent", now=now)

    on_a_state_service(work, hosts=1, furnish=furnish)


def test_what_events_alone_told_of_was_never_read() -> None:
    def work(bench: Bench) -> None:
        bench.tell(TASK)
        (task,) = found(bench, "/v2/tasks")
        assert task["readAt"] is None
        assert task["task"]["createdAt"] == "2025-06-15T15:06:40.250Z"

    by_hand(work, CLUSTER)


# --- Filters --------------------------------------------------------------------------------------


def test_tasks_are_filtered_by_each_of_their_members_and_all_together() -> None:
    def work(bench: Bench) -> None:
        every = found(bench, "/v2/tasks")
        assert len(every) == 4
        of_service = [t for t in every if t["task"]["group"] == "service:web"]
        assert len(of_service) == 3
        mine = of_service[:1]
        task = mine[0]["task"]
        host = task["containerInstanceArn"]
        machine = bench.world(lambda cloud, _: cloud.hosts[host].instance_id)
        filters: dict[str, str] = {
            "cluster": "demo",
            "status": f"stopped,{task['lastStatus'].lower()}",
            "desiredStatus": "running",
            "startedBy": task["startedBy"],
            "group": task["group"],
            "family": "agent",
            "taskDefinition": "agent:1",
            "launchType": "ec2",
            "health": "unknown",
            "instance": machine,
            "query": "attribute:stack == blue or attribute:stack == green",
        }
        for name, value in filters.items():
            assert mine[0] in found(bench, "/v2/tasks", **{name: value}), name
        assert found(bench, "/v2/tasks", **filters) == mine
        for name in ("status", "desiredStatus", "launchType", "health"):
            other = {"status": "STOPPED", "desiredStatus": "STOPPED", "launchType": "FARGATE"}
            value = other.get(name, "HEALTHY")
            assert found(bench, "/v2/tasks", **{**filters, name: value}) == [], name
        for name in ("cluster", "startedBy", "group", "family", "taskDefinition", "instance"):
            assert found(bench, "/v2/tasks", **{**filters, name: "nobody"}) == [], name
        assert found(bench, "/v2/tasks", **{**filters, "query": "attribute:stack == red"}) == []

    on_a_state_service(work, hosts=0, furnish=fleet)


def test_hosts_are_filtered_by_each_of_their_members_and_all_together() -> None:
    def work(bench: Bench) -> None:
        every = found(bench, "/v2/instances")
        assert len(every) == 3
        gone, other, third = named(every)
        bench.world(lambda cloud, now: cloud.disconnect_agent(gone, now=now))
        bench.swept()
        filters = {"cluster": "demo", "status": "active,draining", "agentConnected": "TRUE"}
        assert named(found(bench, "/v2/instances", **filters)) == [other, third]
        assert named(found(bench, "/v2/instances", agentConnected="false")) == [gone]
        for reference in (other, other.rsplit("/", 1)[-1], every[1]["instance"]["ec2InstanceId"]):
            assert named(found(bench, "/v2/instances", instance=reference, **filters)) == [other]
        assert found(bench, "/v2/instances", instance=gone, **filters) == []
        assert found(bench, "/v2/instances", capacityProvider="spot") == []
        assert found(bench, "/v2/instances", status="INACTIVE") == []

    on_a_state_service(work, hosts=0, furnish=fleet)


def test_an_expression_may_ask_for_what_changes_with_what_runs() -> None:
    def work(bench: Bench) -> None:
        busy = found(bench, "/v2/instances", query="task:group == 'family:agent'")
        assert len(busy) == 1
        assert len(found(bench, "/v2/instances", query="task:group != 'family:agent'")) == 2
        assert len(found(bench, "/v2/instances", query="agentConnected == true")) == 3
        on_it = found(bench, "/v2/tasks", query="task:group == 'family:agent'")
        assert {t["task"]["containerInstanceArn"] for t in on_it} == {busy[0]["arn"]}
        assert len(on_it) == 2
        blue = found(bench, "/v2/tasks", query="attribute:stack == blue")
        assert len({t["task"]["containerInstanceArn"] for t in blue}) == 2

    on_a_state_service(work, hosts=0, furnish=fleet)


def test_an_expression_finds_hosts_that_have_left_and_no_task_without_a_host() -> None:
    def work(bench: Bench) -> None:
        bench.tell({**INSTANCE, "clusterArn": CLUSTER, "status": "INACTIVE"})
        bench.tell({**TASK, "containerInstanceArn": None})
        blue = "attribute:stack == blue"
        assert named(found(bench, "/v2/instances", query=blue)) == [host_arn(1)]
        assert found(bench, "/v2/tasks", query=blue) == []
        assert found(bench, "/v2/tasks", query="attribute:stack !exists") == []
        assert len(found(bench, "/v2/tasks")) == 1

    by_hand(work, CLUSTER)


def test_an_expression_that_cannot_be_read_shows_where() -> None:
    def work(bench: Bench) -> None:
        text = quote("attribute:stack = blue")
        sentence = problem(bench.ask("GET", f"/v2/instances?query={text}"), 400)
        assert "expected an operator" in sentence
        assert sentence.splitlines()[1:] == ["  attribute:stack = blue", "                  ^"]

    on_a_state_service(work, hosts=0)


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("/v2/tasks?status=runing", "'status' has 'RUNING'; known are: PROVISIONING"),
        ("/v2/tasks?health=ok", "'health' has 'OK'"),
        ("/v2/tasks?launchType=", "'launchType' is empty"),
        ("/v2/tasks?cluster=a%20b", "'a b' is neither a cluster's name nor its ARN"),
        ("/v2/tasks?taskDefinition=a%20b", "'a b' is no task definition"),
        ("/v2/tasks?limit=0", "it must be from 1 to 1000"),
        ("/v2/tasks?limit=1001", "it must be from 1 to 1000"),
        ("/v2/tasks?nextToken=abc", "is not one that this list has given"),
        ("/v2/tasks?agentConnected=true", "'agentConnected' is not supported; known here: cluster"),
        ("/v2/instances?agentConnected=yes", "use true or false"),
        ("/v2/instances?startedBy=x", "'startedBy' is not supported"),
        ("/v2/instances?cluster=a&cluster=b", "specified multiple times"),
        ("/v2/clusters?limit=x", "a number is needed"),
    ],
)
def test_what_is_asked_wrongly_is_refused_with_the_reason(path: str, says: str) -> None:
    def work(bench: Bench) -> None:
        assert says in problem(bench.ask("GET", path), 400)

    on_a_state_service(work, hosts=0)


# --- Pages ----------------------------------------------------------------------------------------


def test_pages_go_through_every_cluster_without_a_gap_and_begin_at_one_position() -> None:
    def work(bench: Bench) -> None:
        every = named(found(bench, "/v2/instances"))
        assert len(every) == 7
        assert every == sorted(every, key=lambda arn: arn.split("/")[1:])
        shown: list[str] = []
        token = ""
        while True:
            page = bench.get(f"/v2/instances?limit=3{token}")
            assert page["position"].startswith("k3f9p2.")
            shown += named(page["items"])
            if "nextToken" not in page:
                break
            # What comes meanwhile neither repeats nor skips anything.
            bench.world(lambda cloud, now: cloud.add_host("a-c", now=now))
            bench.swept("a-c")
            token = f"&nextToken={page['nextToken']}"
        assert [arn for arn in shown if arn in every] == every
        assert len(set(shown)) == len(shown)

    def furnish(cloud: Cloud, now: float) -> None:
        for name, number in (("a", 3), ("a-b", 4), ("a-c", 0)):
            cloud.add_cluster(name, now=now)
            for _ in range(number):
                cloud.add_host(name, now=now)

    on_a_state_service(work, hosts=0, clusters=("a", "a-b", "a-c"), furnish=furnish)


def test_a_token_is_good_for_its_own_list_only() -> None:
    def work(bench: Bench) -> None:
        token = bench.get("/v2/instances?limit=1")["nextToken"]
        assert bench.get(f"/v2/instances?nextToken={token}&limit=5")["items"]
        for other in ("/v2/instances?status=active&", "/v2/tasks?", "/v2/clusters?"):
            answer = bench.ask("GET", f"{other}nextToken={token}")
            assert "is not one that this list has given" in problem(answer, 400)

    on_a_state_service(work)


# --- Nothing new ----------------------------------------------------------------------------------


def test_a_list_that_has_not_changed_is_not_sent_again() -> None:
    def work(bench: Bench) -> None:
        path = "/v2/instances?cluster=demo&limit=10"
        first = bench.ask("GET", path)
        have = {"If-None-Match": first.headers["etag"]}
        assert bench.ask("GET", path, headers=have).status == 304
        bench.world(lambda cloud, now: cloud.add_host("other", now=now))
        bench.swept("other")
        assert bench.ask("GET", path, headers=have).status == 304
        assert bench.ask("GET", "/v2/instances", headers=have).status == 200
        bench.world(lambda cloud, now: cloud.add_host("demo", now=now))
        bench.swept()
        second = bench.ask("GET", path, headers=have)
        assert second.status == 200
        assert len(second.json["items"]) == 2

    on_a_state_service(work, hosts=1, clusters=("demo", "other"))


def test_a_list_of_hosts_by_what_runs_there_changes_with_what_runs_there() -> None:
    def work(bench: Bench) -> None:
        path = f"/v2/instances?query={quote('task:group == service:web')}"
        first = bench.ask("GET", path)
        assert first.json["items"] == []
        bench.world(
            lambda cloud, now: cloud.start_foreign(
                "demo", next(iter(cloud.hosts)), "agent", now=now, service="web"
            )
        )
        bench.swept()
        second = bench.ask("GET", path, headers={"If-None-Match": first.headers["etag"]})
        assert second.status == 200
        assert len(second.json["items"]) == 1

    on_a_state_service(work, hosts=1)


# --- Single ones ----------------------------------------------------------------------------------


def test_one_task_or_host_is_found_by_every_name_that_it_has() -> None:
    def work(bench: Bench) -> None:
        (host,) = found(bench, "/v2/instances", cluster="demo")
        (task,) = found(bench, "/v2/tasks")
        machine = host["instance"]["ec2InstanceId"]
        for reference in (host["arn"], host["arn"].rsplit("/", 1)[-1], machine):
            for written in (reference, quote(reference, safe="")):
                assert bench.get(f"/v2/instances/demo/{written}") == host
        for reference in (task["arn"], task["arn"].rsplit("/", 1)[-1]):
            assert bench.get(f"/v2/tasks/demo/{reference}") == task

    def furnish(cloud: Cloud, now: float) -> None:
        cloud.start_foreign("demo", next(iter(cloud.hosts)), "agent", now=now)

    on_a_state_service(work, hosts=1, furnish=furnish)


def test_of_several_records_of_one_machine_the_one_that_stands_for_it_is_shown() -> None:
    def work(bench: Bench) -> None:
        host = {**INSTANCE, "clusterArn": CLUSTER}
        for number, status, at in ((1, "ACTIVE", 10), (2, "ACTIVE", 20), (3, "INACTIVE", 30)):
            bench.tell(
                {
                    **host,
                    "containerInstanceArn": host_arn(number),
                    "status": status,
                    "registeredAt": 1_750_000_000 + at,
                }
            )
        shown = bench.get(f"/v2/instances/demo/{INSTANCE['ec2InstanceId']}")
        assert shown["arn"] == host_arn(2)
        old = f"{PREFIX}:container-instance/0b69d5c0"
        bench.tell({**host, "containerInstanceArn": old})
        assert bench.get(f"/v2/instances/demo/{old}")["arn"] == old
        assert bench.get("/v2/instances/demo/0b69d5c0")["arn"] == old

    by_hand(work, CLUSTER)


def test_what_is_not_there_is_told_with_its_name() -> None:
    def work(bench: Bench) -> None:
        for path, says in (
            (
                f"/v2/tasks/demo/{task_arn(9)}",
                f"There is no task {task_arn(9)} in the cluster demo",
            ),
            ("/v2/instances/demo/i-1", "There is no instance i-1 in the cluster demo"),
            ("/v2/instances/nobody/i-1", "There is no cluster nobody here; /v2/clusters lists"),
            ("/v2/tasks/a%20b/1", "'a b' is no name of a cluster"),
            ("/v2/clusters/nobody", "There is no cluster nobody here"),
            ("/v2/nothing", "There is nothing at /v2/nothing"),
        ):
            assert says in problem(bench.ask("GET", path), 404)

    on_a_state_service(work)


# --- Clusters -------------------------------------------------------------------------------------


def test_clusters_are_listed_with_how_well_they_are_known() -> None:
    def work(bench: Bench) -> None:
        page = bench.get("/v2/clusters?limit=1")
        (first,) = page["items"]
        assert first["sweep"].pop("ageSeconds") >= 0
        assert first["sweep"].pop("completedAt").endswith("Z")
        assert first == {
            "name": "demo",
            "arn": CLUSTER,
            "status": "ACTIVE",
            "primed": True,
            "instances": 3,
            "tasks": 0,
            "version": first["version"],
            "sweep": {"epoch": "e1", "number": 1},
            "readError": None,
        }
        rest = bench.get(f"/v2/clusters?nextToken={page['nextToken']}")
        assert [cluster["name"] for cluster in rest["items"]] == ["other"]
        assert "nextToken" not in rest
        assert bench.get("/v2/clusters/other")["name"] == "other"

    on_a_state_service(work, clusters=("demo", "other"))


def test_a_cluster_that_cannot_be_read_says_why_and_is_not_primed() -> None:
    def work(bench: Bench) -> None:
        bench.until(lambda: bench.get("/v2/clusters/demo")["readError"])
        shown = bench.get("/v2/clusters/demo")
        assert "DescribeClusters was refused" in shown["readError"]
        assert not shown["primed"]
        assert shown["sweep"] == {
            "epoch": "e1",
            "number": 0,
            "completedAt": None,
            "ageSeconds": None,
        }

    by_hand(work, CLUSTER)


def test_a_sweep_that_was_asked_for_sees_what_was_there_before() -> None:
    def work(bench: Bench) -> None:
        bench.world(lambda cloud, now: cloud.add_host("demo", now=now))
        asked = bench.ask("POST", "/v2/clusters/demo/sweep")
        assert asked.status == 202
        number = asked.json["sweep"]
        assert asked.json == {
            "cluster": "demo",
            "clusterArn": CLUSTER,
            "epoch": "e1",
            "sweep": number,
        }
        bench.until(lambda: bench.get("/v2/clusters/demo")["sweep"]["number"] >= number)
        assert bench.get("/v2/clusters/demo")["instances"] == 2

    on_a_state_service(work, hosts=1)


def test_a_cluster_that_nobody_watches_is_looked_up_when_it_is_to_be_swept() -> None:
    benches: list[Bench] = []

    async def watch(name: str) -> str | None:
        await asyncio.sleep(0)
        if name != "late":
            return None
        arn = f"{PREFIX}:cluster/late"
        await benches[0].store.view.follow(arn)
        return arn

    def work(bench: Bench) -> None:
        benches.append(bench)
        bench.world(lambda cloud, now: cloud.add_cluster("late", now=now))
        bench.world(lambda cloud, now: cloud.add_host("late", now=now))
        asked = bench.ask("POST", "/v2/clusters/late/sweep")
        assert asked.status == 202
        assert asked.json["clusterArn"] == f"{PREFIX}:cluster/late"
        bench.until(
            lambda: bench.get("/v2/clusters/late")["sweep"]["number"] >= asked.json["sweep"]
        )
        assert bench.get("/v2/clusters/late")["instances"] == 1
        assert "There is no cluster nobody here" in problem(
            bench.ask("POST", "/v2/clusters/nobody/sweep"), 404
        )
        assert problem(bench.ask("POST", "/v2/clusters/a%20b/sweep"), 404)

    on_a_state_service(work, hosts=0, info=StateInfo(version="1.0.0", began_at=0.0, watch=watch))


# --- The process ----------------------------------------------------------------------------------


REJECTED = Rejected(id="m-1", reason="no event", body=b"\xffx", size=99, at=1_750_000_000.0)
TOLD = StateInfo(
    version="1.2.3",
    began_at=1_750_000_000.0,
    ready=lambda: "not yet",
    conditions=lambda: (
        Condition(code="store", sentence="It is full.", next_step="Make room.", since=0.0),
    ),
    notes=lambda: ("A note.",),
    rejected=lambda: (REJECTED,),
    queue=lambda: QueueSeen(name="q", flowing=True, lag_seconds=0.12345, depth=7),
    store=lambda: StoreSeen(stored_version=3, problem="disk full"),
)


def test_the_status_tells_all_of_the_process() -> None:
    def work(bench: Bench) -> None:
        status = bench.get("/v2/status")
        last = int(status["position"].removeprefix("k3f9p2."))
        assert status == {
            "version": "1.2.3",
            "name": "k3f9p2",
            "epoch": "e1",
            "startedAt": "2025-06-15T15:06:40.000Z",
            "ready": False,
            "notReady": "not yet",
            "clusters": 1,
            "instances": 3,
            "tasks": 0,
            "position": f"k3f9p2.{last}",
            "queue": {
                "name": "q",
                "flowing": True,
                "lagSeconds": 0.123,
                "depth": 7,
                "rejected": 1,
            },
            "store": {"problem": "disk full", "storedVersion": 3, "lastVersion": last},
            "watchers": 0,
            "conditions": [
                {
                    "code": "store",
                    "sentence": "It is full.",
                    "nextStep": "Make room.",
                    "since": "1970-01-01T00:00:00.000Z",
                }
            ],
            "notes": ["A note."],
        }
        assert bench.ask("GET", "/readyz").status == 503

    on_a_state_service(work, info=TOLD)


def test_what_the_queue_sent_and_nobody_understood_is_shown() -> None:
    def work(bench: Bench) -> None:
        assert bench.get("/v2/queue/rejected") == {
            "items": [
                {
                    "id": "m-1",
                    "reason": "no event",
                    "body": "\ufffdx",
                    "size": 99,
                    "at": "2025-06-15T15:06:40.000Z",
                }
            ]
        }

    on_a_state_service(work, hosts=0, info=TOLD)


def test_without_a_queue_there_is_none_to_tell_of() -> None:
    def work(bench: Bench) -> None:
        status = bench.get("/v2/status")
        assert status["queue"] is None
        assert (status["ready"], status["notReady"]) == (True, None)
        assert status["store"]["problem"] is None
        assert bench.get("/v2/queue/rejected") == {"items": []}

    on_a_state_service(work, hosts=0)


def test_times_have_milliseconds_wherever_they_stand() -> None:
    def work(bench: Bench) -> None:
        completed = bench.get("/v2/clusters/demo")["sweep"]["completedAt"]
        (instance,) = found(bench, "/v2/instances")
        for text in (completed, instance["readAt"], instance["instance"]["registeredAt"]):
            assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", text)

    on_a_state_service(work, hosts=1)


def test_a_status_that_nobody_knows_yet_can_be_asked_for_where_it_is_listed() -> None:
    def work(bench: Bench) -> None:
        for path in ("/v1/tasks", "/v2/tasks"):
            assert bench.ask("GET", f"{path}?status=hibernating").status == 400
        bench.tell({**TASK, "lastStatus": "HIBERNATING"})
        for path in ("/v1/tasks", "/v2/tasks"):
            assert len(found(bench, path, status="hibernating")) == 1
            assert bench.ask("GET", f"{path}?status=runn%C4%B1ng").status == 400

    by_hand(work, CLUSTER)
