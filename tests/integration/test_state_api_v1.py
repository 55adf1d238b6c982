"""/v1 of the cluster-state-service, over HTTP: each row of 0.3's contract, and what 0.3 did wrong.

The streams have tests of their own.
"""

from urllib.parse import quote

import pytest

from blox.simulator.cloud import Cloud
from support.documents import PREFIX, host_arn, task_arn
from support.entities import INSTANCE, TASK
from support.statestore import Bench, by_hand, on_a_state_service

CHINA = "arn:aws-cn:ecs:cn-north-1:111122223333"
DIGITS = f"{PREFIX}:cluster/2048-batch"


def tasks_on_every_host(cloud: Cloud, now: float) -> None:
    for arn in list(cloud.hosts):
        cloud.start_foreign("demo", arn, "agent", now=now)


def arns(bench: Bench, path: str) -> list[str]:
    """The ARNs that a list shows."""
    return [
        item["entity"].get("taskARN") or item["entity"]["containerInstanceARN"]
        for item in bench.get(path)["items"]
    ]


def refused(bench: Bench, path: str) -> str:
    """The sentence of a 400."""
    answer = bench.ask("GET", path)
    assert answer.status == 400
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    return answer.text


# --- Lists ----------------------------------------------------------------------------------------


def test_hosts_are_listed_with_everything_that_the_contract_has() -> None:
    def work(bench: Bench) -> None:
        answer = bench.ask("GET", "/v1/instances")
        assert answer.status == 200
        assert answer.headers["content-type"] == "application/json; charset=UTF-8"
        items = answer.json["items"]
        assert len(items) == 3
        assert [i["entity"]["containerInstanceARN"] for i in items] == sorted(
            bench.world(lambda cloud, _: list(cloud.hosts))
        )
        shown = items[0]["entity"]
        assert set(shown) == {
            "agentConnected",
            "attributes",
            "clusterARN",
            "containerInstanceARN",
            "EC2InstanceID",
            "registeredResources",
            "remainingResources",
            "status",
            "versionInfo",
        }
        assert {r["name"]: r["value"] for r in shown["registeredResources"]} == {
            "CPU": "4096",
            "MEMORY": "8192",
            "PORTS": "22,2375,2376,51678,51679",
            "PORTS_UDP": "",
        }
        assert items[0]["metadata"]["entityVersion"].isdigit()

    on_a_state_service(work)


def test_tasks_are_listed_and_change_their_version_with_each_change() -> None:
    def work(bench: Bench) -> None:
        first = bench.get("/v1/tasks")["items"]
        assert len(first) == 3
        arn = first[0]["entity"]["taskARN"]
        bench.world(lambda cloud, now: cloud.stop_foreign(arn, now=now))
        bench.swept()
        second = {i["entity"]["taskARN"]: i for i in bench.get("/v1/tasks")["items"]}
        changed = second.pop(arn)
        assert changed["entity"]["desiredStatus"] == "STOPPED"
        assert int(changed["metadata"]["entityVersion"]) > max(
            int(item["metadata"]["entityVersion"]) for item in first
        )

    on_a_state_service(work, furnish=tasks_on_every_host)


def test_statuses_are_compared_without_regard_to_case() -> None:
    def work(bench: Bench) -> None:
        every = arns(bench, "/v1/instances")
        bench.world(lambda cloud, now: cloud.drain_host(every[0], now=now))
        bench.swept()
        assert arns(bench, "/v1/instances?status=aCtIvE") == every[1:]
        assert arns(bench, "/v1/instances?status=draining") == every[:1]
        assert arns(bench, "/v1/instances?status=INACTIVE") == []
        assert arns(bench, "/v1/tasks?status=running") == []
        for status in ("pending", "Running", "STOPPED", "provisioning", "deprovisioning"):
            arns(bench, f"/v1/tasks?status={status}")

    on_a_state_service(work)


def test_a_cluster_is_named_by_its_name_or_its_arn_and_an_unknown_one_is_empty() -> None:
    def work(bench: Bench) -> None:
        every = arns(bench, "/v1/instances")
        assert len(every) == 4
        demo = [arn for arn in every if "/demo/" in arn]
        assert arns(bench, "/v1/instances?cluster=demo") == demo
        arn = quote(f"{PREFIX}:cluster/demo", safe="")
        assert arns(bench, f"/v1/instances?cluster={arn}") == demo
        assert arns(bench, f"/v1/instances?cluster={PREFIX}:cluster/other") == sorted(
            set(every) - set(demo)
        )
        assert arns(bench, "/v1/instances?cluster=nobody") == []
        assert arns(bench, f"/v1/instances?cluster={CHINA}:cluster/demo") == []
        assert arns(bench, "/v1/tasks?cluster=nobody") == []

    on_a_state_service(work, hosts=2, clusters=("demo", "other"))


def test_every_combination_of_filters_is_an_answer() -> None:
    def furnish(cloud: Cloud, now: float) -> None:
        for host in list(cloud.hosts):
            cloud.start_foreign("demo", host, "agent", now=now, service="web")
            cloud.start_foreign("demo", host, "agent", now=now)

    def work(bench: Bench) -> None:
        every = bench.get("/v1/tasks")["items"]
        assert len(every) == 6
        started_by = next(i["entity"]["startedBy"] for i in every if "startedBy" in i["entity"])
        mine = sorted(
            i["entity"]["taskARN"] for i in every if i["entity"].get("startedBy") == started_by
        )
        assert 0 < len(mine) < 6
        who = quote(started_by, safe="")
        assert arns(bench, f"/v1/tasks?startedBy={who}") == mine
        assert arns(bench, f"/v1/tasks?startedBy={who}&cluster=demo") == mine
        status = every[0]["entity"]["lastStatus"]
        both = arns(bench, f"/v1/tasks?startedBy={who}&status={status}")
        assert arns(bench, f"/v1/tasks?status={status}&startedBy={who}&cluster=demo") == both
        assert arns(bench, f"/v1/tasks?startedBy={who}&status=stopped&cluster=demo") == []
        assert arns(bench, "/v1/tasks?startedBy=nobody") == []
        assert len(arns(bench, "/v1/tasks?status=&cluster=&startedBy=")) == 6

    on_a_state_service(work, furnish=furnish)


@pytest.mark.parametrize("kind", ["tasks", "instances"])
def test_what_is_asked_wrongly_is_refused_in_the_contracts_words(kind: str) -> None:
    def work(bench: Bench) -> None:
        path = f"/v1/{kind}"
        assert refused(bench, f"{path}?status=runing") == "Invalid status"
        assert refused(bench, f"{path}?cluster=a%20b") == "Invalid cluster ARN or name"
        task = f"{PREFIX}:task/demo/1"
        assert refused(bench, f"{path}?cluster={task}") == "Invalid cluster ARN or name"
        assert refused(bench, f"{path}?state=active") == (
            "At least one of the filters provided is unsupported"
        )
        assert refused(bench, f"{path}?cluster=a&cluster=b") == (
            "At least one of the filters provided is specified multiple times"
        )

    on_a_state_service(work, hosts=0)


def test_startedBy_is_no_filter_of_hosts() -> None:  # noqa: N802
    def work(bench: Bench) -> None:
        assert refused(bench, "/v1/instances?startedBy=x") == (
            "At least one of the filters provided is unsupported"
        )

    on_a_state_service(work, hosts=0)


def test_paths_may_end_in_a_slash() -> None:
    def work(bench: Bench) -> None:
        assert bench.get("/v1/instances/") == bench.get("/v1/instances")
        assert bench.get("/v1/tasks/?cluster=demo") == {"items": []}

    on_a_state_service(work, hosts=1)


def test_a_list_that_has_not_changed_is_not_sent_again() -> None:
    def work(bench: Bench) -> None:
        path = "/v1/instances?cluster=demo"
        first = bench.ask("GET", path)
        etag = first.headers["etag"]
        again = bench.ask("GET", path, headers={"If-None-Match": etag})
        assert (again.status, again.body) == (304, b"")
        assert again.headers["etag"] == etag
        assert "content-type" not in again.headers
        bench.world(lambda cloud, now: cloud.add_host("other", now=now))
        bench.swept("other")
        assert bench.ask("GET", path, headers={"If-None-Match": etag}).status == 304
        bench.world(lambda cloud, now: cloud.add_host("demo", now=now))
        bench.swept()
        changed = bench.ask("GET", path, headers={"If-None-Match": etag})
        assert changed.status == 200
        assert len(changed.json["items"]) == 2
        assert changed.headers["etag"] != etag

    on_a_state_service(work, hosts=1, clusters=("demo", "other"))


# --- Single ones ----------------------------------------------------------------------------------


def test_a_task_or_host_is_found_by_its_arn_with_slashes_as_they_are_or_encoded() -> None:
    def work(bench: Bench) -> None:
        for kind in ("tasks", "instances"):
            item = bench.get(f"/v1/{kind}")["items"][0]
            (arn,) = arns(bench, f"/v1/{kind}")
            for written in (arn, quote(arn, safe=""), quote(arn, safe=":"), arn + "/"):
                answer = bench.ask("GET", f"/v1/{kind}/demo/{written}")
                assert answer.status == 200, answer.text
                assert answer.json == item

    on_a_state_service(work, hosts=1, furnish=tasks_on_every_host)


@pytest.mark.parametrize(
    ("kind", "sentence"), [("tasks", "Task not found"), ("instances", "Instance not found")]
)
def test_what_is_not_there_is_not_found(kind: str, sentence: str) -> None:
    def work(bench: Bench) -> None:
        (arn,) = arns(bench, f"/v1/{kind}")
        for place in (
            f"demo/{arn}0",
            f"other/{arn}",
            f"nobody/{arn}",
            f"demo/{arn.rsplit('/', 1)[-1]}",
            "a%20b/arn",
            f"demo/{quote('ä', safe='')}",
        ):
            answer = bench.ask("GET", f"/v1/{kind}/{place}")
            assert (answer.status, answer.text) == (404, sentence), place
            assert answer.headers["content-type"] == "text/plain; charset=utf-8"

    def furnish(cloud: Cloud, now: float) -> None:
        tasks_on_every_host(cloud, now)
        cloud.add_cluster("other", now=now)

    on_a_state_service(work, hosts=1, furnish=furnish)


def test_what_is_at_no_path_and_other_methods_are_told_in_plain_text() -> None:
    def work(bench: Bench) -> None:
        for path in ("/v1", "/v1/nothing", "/v1/tasks/demo"):
            answer = bench.ask("GET", path)
            assert answer.status == 404
            assert answer.headers["content-type"] == "text/plain; charset=utf-8"
        assert bench.ask("POST", "/v1/tasks", {}).status == 405

    on_a_state_service(work, hosts=0)


# --- What 0.3 did wrong ---------------------------------------------------------------------------


def test_19_every_partition_both_formats_and_names_of_digits_are_listed() -> None:
    places = {
        "long": f"{PREFIX}:cluster/2048-batch",
        "old": f"{PREFIX}:cluster/old",
        "china": f"{CHINA}:cluster/demo",
        "iso": "arn:aws-iso-b:ecs:us-isob-east-1:111122223333:cluster/7",
    }
    hosts = {
        "long": f"{PREFIX}:container-instance/2048-batch/{1:032x}",
        "old": f"{PREFIX}:container-instance/0b69d5c0-d655-4695-98cd-5d2d526d9d5a",
        "china": f"{CHINA}:container-instance/demo/{1:032x}",
        "iso": f"arn:aws-iso-b:ecs:us-isob-east-1:111122223333:container-instance/7/{1:032x}",
    }

    def work(bench: Bench) -> None:
        for place, arn in hosts.items():
            told = {**INSTANCE, "clusterArn": places[place], "containerInstanceArn": arn}
            assert bench.tell(told) == "applied"
        assert sorted(arns(bench, "/v1/instances")) == sorted(hosts.values())
        for place, arn in hosts.items():
            name = places[place].rsplit("/", 1)[-1]
            assert arns(bench, f"/v1/instances?cluster={name}") == [arn]
            assert arns(bench, f"/v1/instances?cluster={places[place]}") == [arn]
            found = bench.get(f"/v1/instances/{name}/{arn}")
            assert found["entity"]["clusterARN"] == places[place]

    by_hand(work, *places.values())


def test_19_a_task_without_a_host_is_listed_beside_the_others() -> None:
    def work(bench: Bench) -> None:
        fargate = {**TASK, "taskArn": task_arn(2), "launchType": "FARGATE"}
        del fargate["containerInstanceArn"]
        bench.tell(TASK)
        bench.tell(fargate)
        items = bench.get("/v1/tasks?cluster=demo&status=running")["items"]
        assert [i["entity"]["containerInstanceARN"] for i in items] == [host_arn(1), ""]
        assert bench.get(f"/v1/tasks/demo/{task_arn(2)}") == items[1]

    by_hand(work, f"{PREFIX}:cluster/demo")


def test_19_what_ecs_tells_and_nobody_knows_yet_breaks_no_listing() -> None:
    def work(bench: Bench) -> None:
        odd = {**TASK, "taskArn": task_arn(2), "lastStatus": "LEVITATING", "orbit": [{"a": 1}]}
        bench.tell(TASK)
        bench.tell(odd)
        statuses = [i["entity"]["lastStatus"] for i in bench.get("/v1/tasks")["items"]]
        assert statuses == ["RUNNING", "LEVITATING"]
        assert arns(bench, "/v1/tasks?status=running") == [task_arn(1)]

    by_hand(work, f"{PREFIX}:cluster/demo")


def test_21_it_answers_before_anything_was_read_and_one_clusters_error_is_its_own() -> None:
    def work(bench: Bench) -> None:
        bench.tell({**INSTANCE, "clusterArn": f"{PREFIX}:cluster/demo"})
        assert arns(bench, "/v1/instances") == [host_arn(1)]
        assert arns(bench, "/v1/tasks") == []
        shown = {c["name"]: c for c in bench.get("/v2/clusters")["items"]}
        assert [c["primed"] for c in shown.values()] == [False, False]

    by_hand(work, f"{PREFIX}:cluster/demo", DIGITS)


def test_22_a_task_that_a_describe_did_not_answer_stays_listed() -> None:
    def work(bench: Bench) -> None:
        every = arns(bench, "/v1/tasks")
        assert len(every) == 3
        bench.world(lambda cloud, _: cloud.deny("ecs:DescribeTasks"))
        bench.on_loop(
            lambda: [bench.store.view.request_sweep(a) for a in bench.store.view.clusters]
        )
        bench.until(lambda: bench.get("/v2/clusters/demo")["readError"] is not None)
        assert arns(bench, "/v1/tasks") == every

    on_a_state_service(work, furnish=tasks_on_every_host)
