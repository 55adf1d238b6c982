"""/v2 over a real socket: what it shows adds up, and what it changes is guarded."""

import threading
from datetime import timedelta
from typing import Any

import pytest

from blox.cli.words import parse_time
from support.api_v2 import ONE, UNWANTED, WANTED, adds_up, patch, problem
from support.running import Bench, on_a_scheduler

SECOND = timedelta(seconds=1)

# --- Environments ---------------------------------------------------------------------------------


def test_an_environment_is_created_with_everything_it_can_have() -> None:
    def work(bench: Bench) -> None:
        overrides = {"containerOverrides": [{"name": "agent", "cpu": 32}]}
        answer = bench.ask(
            "POST",
            "/v2/environments",
            {
                "name": "logs",
                "cluster": "demo",
                "taskDefinition": "agent:1",
                "selector": "attribute:ecs.os-type == linux",
                "task": {"enableExecuteCommand": True, "overrides": overrides},
                "policy": {
                    "maxUnavailable": 2,
                    "minHealthySeconds": 1.5,
                    "progressDeadline": 60,
                    "drainDeadline": 30,
                },
            },
        )
        assert answer.status == 201
        assert answer.headers["location"] == ONE
        found = answer.json
        assert answer.headers["etag"] == f'"{found["token"]}"'
        revision = found["revision"]
        assert revision["number"] == 1
        assert revision["taskDefinition"].endswith("agent:1")
        assert revision["selector"] == "attribute:ecs.os-type == linux"
        assert revision["task"] == {"enableExecuteCommand": True, "overrides": overrides}
        assert len(revision["digest"]) == 64
        assert found["policy"] == {
            "maxUnavailable": "2",
            "minHealthySeconds": 1.5,
            "progressDeadline": 60.0,
            "drainDeadline": 30.0,
            "beside": False,
            "whenIdle": None,
        }
        assert (found["cluster"], found["deployment"], found["deployedRevision"]) == (
            "demo",
            None,
            None,
        )
        assert found["health"] == {"status": "healthy", "problems": []}
        again = bench.ask("GET", ONE)
        assert again.headers["etag"] == answer.headers["etag"]

    on_a_scheduler(work)


def test_before_it_is_deployed_it_shows_what_it_would_find() -> None:
    def furnish(cloud: Any, now: float) -> None:
        cloud.add_definition("intel", now=now, architecture="X86_64")
        cloud.add_host("demo", now=now, arch="arm64")
        drained = cloud.add_host("demo", now=now)
        cloud.drain_host(drained, now=now)
        occupied = cloud.add_host("demo", now=now)
        cloud.start_foreign("demo", occupied, "intel", now=now, service="shipper")

    def work(bench: Bench) -> None:
        bench.created(taskDefinition="intel", existing="wait")
        found = bench.wait(ONE, lambda e: e["primed"] and e["counts"]["occupied"])
        counts = {name: n for name, n in found["counts"].items() if n}
        assert counts == {
            "hosts": 6,
            "wanted": 4,
            "missing": 3,
            "occupied": 1,
            "ineligible": 1,
            "leaving": 1,
            "unavailable": 4,
        }
        assert found["health"]["status"] == "healthy"
        hosts = bench.get(f"{ONE}/hosts")["items"]
        reasons = sorted(host["reason"] for host in hosts)
        assert reasons == ["draining", "ineligible", *["not-deployed"] * 3, "occupied"]
        told = bench.get(f"{ONE}/hosts/{hosts[0]['instanceId']}")
        assert (told["reason"], told["story"]) == (hosts[0]["reason"], [])
        assert bench.world(lambda cloud, _: cloud.log) == []

    on_a_scheduler(work, furnish=furnish)


def test_the_counters_add_up_on_a_cluster_where_everything_is_different() -> None:
    def furnish(cloud: Any, now: float) -> None:
        cloud.add_definition("intel", now=now, architecture="X86_64")
        cloud.add_host("demo", now=now, arch="arm64")
        cloud.drain_host(cloud.add_host("demo", now=now), now=now)
        cloud.set_host_status(cloud.add_host("demo", now=now), "REGISTERING", now=now)
        occupied = cloud.add_host("demo", now=now)
        cloud.start_foreign("demo", occupied, "intel", now=now)
        cloud.add_host("demo", now=now, attributes={"pool": "none"})
        cloud.add_host("demo", now=now, memory=64)
        gone = cloud.add_host("demo", now=now)
        cloud.disconnect_agent(gone, now=now)
        cloud.duplicate_host(cloud.add_host("demo", now=now), now=now)

    def work(bench: Bench) -> None:
        bench.created(taskDefinition="intel", selector="attribute:pool !exists", existing="wait")
        assert bench.ask("POST", f"{ONE}/deployments").status == 201
        found = bench.wait(
            ONE, lambda e: e["counts"]["current"] == 4 and e["counts"]["away"], within=40.0
        )
        counts = found["counts"]
        assert adds_up(counts)
        expected = {
            "hosts": 11,
            "wanted": 6,
            "current": 4,
            "occupied": 1,
            "blocked": 1,
            "unmatched": 1,
            "ineligible": 1,
            "leaving": 1,
            "notReady": 1,
            "away": 1,
            "superseded": 1,
            "unavailable": 2,
        }
        assert {name: n for name, n in counts.items() if n} == expected
        assert found["health"]["status"] == "unhealthy"
        problems = {p["code"]: p for p in found["health"]["problems"]}
        assert sorted(problems) == ["no-room", "occupied"]
        assert problems["no-room"]["count"] == 1
        assert problems["no-room"]["who"] == "you"
        assert problems["no-room"]["nextStep"]
        hosts = bench.get(f"{ONE}/hosts")["items"]
        assert len(hosts) == counts["hosts"] + counts["superseded"]
        for name in (*WANTED, *UNWANTED, "superseded"):
            listed = bench.get(f"{ONE}/hosts?class={name}")["items"]
            assert len(listed) == counts[name], name
            assert {host["class"] for host in listed} <= {name}

    on_a_scheduler(work, furnish=furnish)


@pytest.mark.parametrize(
    ("changes", "status", "part"),
    [
        ({"name": "a b"}, 400, "name"),
        ({"cluster": "a/b"}, 400, "cluster"),
        ({"cluster": "nowhere"}, 404, "nowhere"),
        ({"taskDefinition": "nothing"}, 404, "nothing"),
        ({"taskDefinition": None}, 400, "taskDefinition"),
        ({"selector": "agentConnected == true"}, 400, "agentConnected"),
        ({"selector": "attribute:"}, 400, "selector"),
        ({"selector": "runningTasksCount == 0"}, 400, "runningTasksCount"),
        ({"task": {"count": 2}}, 400, "count"),
        ({"task": {"overrides": {"containerOverrides": [{"name": "x"}]}}}, 400, "'x'"),
        ({"policy": {"maxUnavailable": "0"}}, 400, "maxUnavailable"),
        ({"policy": {"maxUnavailable": "101%"}}, 400, "maxUnavailable"),
        ({"policy": {"maxUnavailable": "²"}}, 400, "maxUnavailable"),
        ({"policy": {"maxUnavailable": True}}, 400, "maxUnavailable"),
        ({"policy": {"drainDeadline": -1}}, 400, "drainDeadline"),
        ({"policy": {"minHealthy": 1}}, 400, "minHealthy"),
        ({"tasks": {}}, 400, "tasks"),
    ],
)
def test_bad_input_is_a_problem_and_changes_nothing(
    changes: dict[str, object], status: int, part: str
) -> None:
    def work(bench: Bench) -> None:
        body = {"name": "logs", "cluster": "demo", "taskDefinition": "agent", **changes}
        assert part in problem(bench.ask("POST", "/v2/environments", body), status)
        assert bench.get("/v2/environments") == {"items": []}

    on_a_scheduler(work, hosts=0)


def test_a_name_is_unique_on_its_cluster() -> None:
    def work(bench: Bench) -> None:
        bench.created()
        body = {"name": "logs", "cluster": "demo", "taskDefinition": "agent"}
        assert "exists already" in problem(bench.ask("POST", "/v2/environments", body), 409)
        bench.created(cluster="other")
        listed = bench.get("/v2/environments?name=logs")["items"]
        assert [item["cluster"] for item in listed] == ["demo", "other"]
        assert [e["cluster"] for e in bench.get("/v2/environments?cluster=other")["items"]] == [
            "other"
        ]
        assert bench.get("/v2/environments?name=metrics")["items"] == []

    on_a_scheduler(work, clusters=("demo", "other"))


def test_what_is_not_there_is_404() -> None:
    def work(bench: Bench) -> None:
        bench.created("metrics")
        for method, path in (
            ("GET", ""),
            ("DELETE", ""),
            ("POST", "/deployments"),
            ("GET", "/deployments"),
            ("GET", "/hosts"),
            ("GET", "/hosts/i-0"),
        ):
            text = problem(bench.ask(method, ONE + path), 404)
            assert text == "There is no environment named logs on the cluster demo."
        problem(patch(bench, {}), 404)
        there = "/v2/environments/demo/metrics"
        problem(bench.ask("GET", f"{there}/deployments/x"), 404)
        assert "i-0" in problem(bench.ask("GET", f"{there}/hosts/i-0"), 404)
        assert "i-0" in problem(bench.ask("GET", "/v2/hosts/i-0"), 404)
        problem(bench.ask("GET", "/v2/hosts/arn:aws:ecs:x:1:container-instance/demo/0"), 404)
        problem(bench.ask("GET", "/v2/hosts/arn:aws:ecs:x:1:container-instance/0"), 404)
        problem(bench.ask("GET", "/v2/nothing"), 404)
        assert "no name of a cluster" in problem(bench.ask("GET", "/v2/environments/a.b/c"), 404)

    on_a_scheduler(work)


# --- PATCH ----------------------------------------------------------------------------------------


def test_a_patch_makes_the_next_revision_and_a_policy_takes_effect_at_once() -> None:
    def work(bench: Bench) -> None:
        before = bench.created(taskDefinition="agent:1", task={"enableExecuteCommand": True})
        after = patch(bench, {"taskDefinition": "agent:2"}).json
        assert after["revision"]["number"] == 2
        assert after["revision"]["taskDefinition"].endswith("agent:2")
        assert after["revision"]["task"] == {"enableExecuteCommand": True}
        assert after["revision"]["digest"] != before["revision"]["digest"]
        assert after["token"] != before["token"]
        with_policy = patch(bench, {"policy": {"maxUnavailable": "3"}}).json
        assert with_policy["revision"]["number"] == 2
        assert with_policy["policy"]["maxUnavailable"] == "3"
        assert with_policy["policy"]["minHealthySeconds"] == 0
        defaults = patch(bench, {"policy": {"maxUnavailable": None}, "task": None}).json
        assert defaults["policy"]["maxUnavailable"] == "10%"
        assert (defaults["revision"]["task"], defaults["revision"]["number"]) == ({}, 3)
        assert patch(bench, {"policy": None}).json["policy"]["minHealthySeconds"] == 10
        assert bench.get(ONE)["revision"]["number"] == 3

    on_a_scheduler(work)


def test_a_patch_merges_the_task_block() -> None:
    def work(bench: Bench) -> None:
        tags = [{"key": "team", "value": "sre"}]
        bench.created(task={"tags": tags, "enableExecuteCommand": True})
        changed = patch(
            bench, {"task": {"enableExecuteCommand": None, "propagateTags": "TASK_DEFINITION"}}
        )
        assert changed.status == 200, changed.text
        assert changed.json["revision"]["task"] == {
            "tags": tags,
            "propagateTags": "TASK_DEFINITION",
        }

    on_a_scheduler(work)


def test_if_match_guards_a_change() -> None:
    def work(bench: Bench) -> None:
        bench.created()
        read = bench.ask("GET", ONE).headers["etag"]
        first = patch(bench, {"taskDefinition": "agent:1"}, if_match=read)
        assert first.status == 200
        for stale in (read, f"W/{first.headers['etag']}", '"other"', "nonsense"):
            text = problem(patch(bench, {"selector": "attribute:a exists"}, if_match=stale), 412)
            assert "has changed" in text
        assert bench.get(ONE)["revision"]["number"] == 2
        assert problem(bench.ask("DELETE", ONE, headers={"If-Match": read}), 412)
        listed = f"{read}, {first.headers['etag']}"
        assert patch(bench, {"policy": {"maxUnavailable": 1}}, if_match=listed).status == 200
        assert patch(bench, {"policy": {"maxUnavailable": 2}}, if_match="*").status == 200

    on_a_scheduler(work)


def test_of_simultaneous_guarded_changes_one_is_made() -> None:
    def work(bench: Bench) -> None:
        bench.created()
        read = bench.ask("GET", ONE).headers["etag"]
        answers: list[int] = []

        def change(number: int) -> None:
            wish = {"policy": {"maxUnavailable": number}, "taskDefinition": "agent:1"}
            answers.append(patch(bench, wish, if_match=read).status)

        asking = [threading.Thread(target=change, args=(number,)) for number in range(1, 6)]
        for thread in asking:
            thread.start()
        for thread in asking:
            thread.join()
        assert sorted(answers) == [200] + [412] * 4

    on_a_scheduler(work)


@pytest.mark.parametrize(
    ("change", "status", "part"),
    [
        ({"name": "other"}, 400, "name"),
        ({"cluster": "other"}, 400, "cluster"),
        ({"taskDefinition": None}, 400, "taskDefinition"),
        ({"taskDefinition": "nothing"}, 404, "nothing"),
        ({"policy": {"maxUnavailable": "half"}}, 400, "maxUnavailable"),
        ({"selector": "("}, 400, "selector"),
        ([], 400, "body"),
        (b"", 400, "body"),
    ],
)
def test_a_bad_patch_changes_nothing(change: object, status: int, part: str) -> None:
    def work(bench: Bench) -> None:
        before = bench.created()["token"]
        assert part in problem(patch(bench, change), status)
        assert bench.get(ONE)["token"] == before

    on_a_scheduler(work, hosts=0)


def test_a_patch_of_another_kind_of_json_is_refused() -> None:
    def work(bench: Bench) -> None:
        bench.created()
        headers = {"Content-Type": "application/json-patch+json"}
        assert "merge-patch" in problem(bench.ask("PATCH", ONE, [], headers=headers), 415)

    on_a_scheduler(work, hosts=0)


# --- Deployments ----------------------------------------------------------------------------------


def test_a_deployment_tells_its_life() -> None:
    def work(bench: Bench) -> None:
        bench.created(taskDefinition="agent:1")
        answer = bench.ask("POST", f"{ONE}/deployments")
        assert answer.status == 201
        made = answer.json
        assert answer.headers["location"] == f"{ONE}/deployments/{made['id']}"
        assert (made["status"], made["revision"], made["inForce"]) == ("pending", 1, True)
        path = f"{ONE}/deployments/{made['id']}"
        done = bench.wait(path, lambda d: d["status"] == "completed")
        assert done["counts"]["current"] == 3
        assert adds_up(done["counts"])
        # By ECS's clock, of which every answer tells only the second.
        times = [parse_time(done[name]) for name in ("createdAt", "startedAt", "finishedAt")]
        assert times[0] - SECOND <= times[1] <= times[2] + SECOND
        assert (done["reused"], done["causes"], done["waiting"]) == (0, [], [])
        assert patch(bench, {"taskDefinition": "agent:2"}).status == 200
        second = bench.deployed()
        listed = bench.get(f"{ONE}/deployments")["items"]
        assert [d["id"] for d in listed] == [second, made["id"]]
        assert [d["status"] for d in listed] == ["completed", "superseded"]
        assert [d["completedOnce"] for d in listed] == [True, True]
        assert [d["inForce"] for d in listed] == [True, False]
        assert listed[1]["counts"] is None

    on_a_scheduler(work)


def test_equal_content_is_not_restarted_and_counted_as_reused() -> None:
    def work(bench: Bench) -> None:
        bench.created()
        first = bench.deployed()
        second = bench.deployed()
        shown = bench.get(f"{ONE}/deployments/{second}")
        assert shown["reused"] == 3
        carried = bench.world(
            lambda cloud, _: {t.started_by for h in cloud.hosts for t in cloud.live_tasks(h)}
        )
        assert carried == {first}

    on_a_scheduler(work)


def test_a_deployment_in_progress_is_superseded_only_when_asked() -> None:
    def work(bench: Bench) -> None:
        bench.world(lambda cloud, now: cloud.stall_pending("agent", now=now))
        bench.created()
        first = bench.ask("POST", f"{ONE}/deployments").json["id"]
        text = problem(bench.ask("POST", f"{ONE}/deployments"), 409)
        assert first in text
        assert "in progress" in text
        assert problem(bench.ask("POST", f"{ONE}/deployments?supersede=yes"), 400)
        second = bench.ask("POST", f"{ONE}/deployments?supersede=true")
        assert second.status == 201
        old = bench.get(f"{ONE}/deployments/{first}")
        assert (old["status"], old["completedOnce"]) == ("superseded", False)

    on_a_scheduler(work)


def test_a_token_binds_a_deployment_to_what_was_read() -> None:
    def work(bench: Bench) -> None:
        token = bench.created()["token"]
        assert patch(bench, {"taskDefinition": "agent:1"}).status == 200
        path = f"{ONE}/deployments?token="
        assert "has changed" in problem(bench.ask("POST", path + token), 409)
        assert "malformed" in problem(bench.ask("POST", path + "x"), 400)
        assert bench.ask("POST", path + bench.get(ONE)["token"]).status == 201

    on_a_scheduler(work)


def test_a_failed_deployment_names_its_causes_and_hosts() -> None:
    def work(bench: Bench) -> None:
        bench.created(policy={"minHealthySeconds": 0, "progressDeadline": 20})
        bench.deployed()
        big = bench.world(lambda cloud, now: cloud.add_definition("big", now=now, memory=99_999))
        assert patch(bench, {"taskDefinition": big}).status == 200
        made = bench.ask("POST", f"{ONE}/deployments").json["id"]
        path = f"{ONE}/deployments/{made}"
        failed = bench.wait(path, lambda d: d["status"] == "failed")
        (cause,) = failed["causes"]
        assert cause["count"] == 3
        assert "99999 asked" in cause["sentence"]
        hosts = bench.get(f"{ONE}/hosts")["items"]
        assert cause["hosts"] == [
            {"instanceId": host["instanceId"], "arn": host["arn"]} for host in hosts
        ]
        assert sum(group["count"] for group in failed["waiting"]) == 3
        environment = bench.get(ONE)
        assert environment["health"]["status"] == "unhealthy"
        (told,) = environment["health"]["problems"]
        assert (told["code"], told["count"], told["who"]) == ("deployment-failed", 3, "you")
        assert environment["counts"]["outdated"] == 3

    on_a_scheduler(work)
