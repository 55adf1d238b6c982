"""/v2 over a real socket: coming to a cluster where something runs already, and leaving again."""

from typing import Any

import pytest

from support.api_v2 import ONE, adds_up, current, problem
from support.running import Bench, on_a_scheduler

EVERY = "/v2/environments"
ADOPTIONS = f"{ONE}/adoptions"
POLICY = {"minHealthySeconds": 0, "maxUnavailable": 3}
"""A host that a service occupies counts as unavailable, and does not hold up the others."""
LOGS = {
    "name": "logs",
    "cluster": "demo",
    "taskDefinition": "agent",
    "policy": {"minHealthySeconds": 0},
}


def by_hand(cloud: Any, now: float) -> None:
    """A host where somebody started the daemon, one where a service did, one where nobody."""
    first, second, third = (cloud.add_host("demo", now=now) for _ in range(3))
    cloud.start_foreign("demo", first, "agent", now=now)
    cloud.start_foreign("demo", second, "agent", now=now, service="shipper")
    cloud.start_foreign("demo", third, "other", now=now)


def furnished(cloud: Any, now: float) -> None:
    cloud.add_definition("other", now=now)
    by_hand(cloud, now)


def live(bench: Bench) -> dict[str, str]:
    """Live tasks, by ARN, and what they run."""
    return bench.world(
        lambda cloud, _: {t.arn: t.definition for t in cloud.tasks.values() if t.live}
    )


def all_running(bench: Bench) -> None:
    """Wait until what others started runs."""
    bench.wait(
        "/v2/status",
        lambda _: bench.world(
            lambda cloud, _: all(t.last_status == "RUNNING" for t in cloud.tasks.values())
        ),
    )


# --- The questions --------------------------------------------------------------------------------


def test_creating_where_the_daemon_runs_asks_and_creates_nothing() -> None:
    def work(bench: Bench) -> None:
        answer = bench.ask("POST", EVERY, LOGS)
        told = problem(answer, 409)
        assert "2 of 3 hosts run agent already" in told
        assert "--adopt" in told
        asked = answer.json
        assert asked["question"] == "existing"
        assert (asked["hosts"], asked["occupied"]) == (3, 2)
        assert sorted((h["holder"], h["hosts"]) for h in asked["holders"]) == [
            ("service/shipper", 1),
            ("somebody's task of family:agent", 1),
        ]
        assert asked["ways"] == ["adopt", "stop", "beside"]
        assert bench.get(EVERY)["items"] == []
        assert bench.get("/v2/status")["clusters"] == []

    on_a_scheduler(work, hosts=0, furnish=furnished)


def test_only_a_service_leaves_one_way_in_the_answer() -> None:
    def furnish(cloud: Any, now: float) -> None:
        host = cloud.add_host("demo", now=now)
        cloud.start_foreign("demo", host, "agent", now=now, service="shipper")

    def work(bench: Bench) -> None:
        answer = bench.ask("POST", EVERY, LOGS)
        problem(answer, 409)
        assert answer.json["ways"] == ["beside"]
        assert answer.json["holders"] == [{"holder": "service/shipper", "hosts": 1}]

    on_a_scheduler(work, hosts=0, furnish=furnish)


def test_a_taken_name_asks_nothing() -> None:
    def work(bench: Bench) -> None:
        bench.created()
        answer = bench.ask("POST", EVERY, LOGS)
        problem(answer, 409)
        assert "question" not in answer.json

    on_a_scheduler(work)


def test_an_environment_beside_starts_where_the_daemon_runs() -> None:
    def work(bench: Bench) -> None:
        made = bench.created(existing="beside")
        assert made["policy"]["beside"] is True
        bench.deployed()
        assert bench.get(ONE)["counts"]["current"] == 3
        assert len(live(bench)) == 6

    on_a_scheduler(work, hosts=0, furnish=furnished)


def test_with_wait_their_hosts_stay_occupied() -> None:
    def work(bench: Bench) -> None:
        assert bench.created(existing="wait")["counts"]["occupied"] == 2
        assert bench.ask("POST", f"{ONE}/deployments").status == 201
        found = bench.wait(ONE, lambda e: e["counts"]["current"] == 1)
        assert found["counts"]["occupied"] == 2
        assert len(live(bench)) == 4

    on_a_scheduler(work, hosts=0, furnish=furnished)


def with_provider(cloud: Any, now: float) -> None:
    """Two hosts that ECS removes when they are idle."""
    cloud.add_provider("spot", now=now, cluster="demo")
    for _ in range(2):
        cloud.add_host("demo", now=now, provider="spot")


def test_creating_where_daemons_would_keep_idle_hosts_asks() -> None:
    def work(bench: Bench) -> None:
        answer = bench.ask("POST", EVERY, LOGS)
        assert "managed scaling" in problem(answer, 409)
        asked = answer.json
        assert asked["question"] == "scaleIn"
        assert asked["providers"] == [{"name": "spot", "hosts": 2}]
        assert bench.get(EVERY)["items"] == []
        made = bench.created(acceptNoScaleIn=True)
        assert made["policy"]["whenIdle"] is None

    on_a_scheduler(work, hosts=1, furnish=with_provider)


def test_a_policy_for_idle_hosts_answers_and_can_be_changed() -> None:
    def work(bench: Bench) -> None:
        made = bench.created(policy={"minHealthySeconds": 0, "whenIdle": 900})
        assert made["policy"]["whenIdle"] == 900
        merge = {"Content-Type": "application/merge-patch+json"}
        for policy, shown in (({"whenIdle": 120.5}, 120.5), ({"whenIdle": None}, None)):
            changed = bench.ask("PATCH", ONE, {"policy": policy}, headers=merge).json
            assert changed["policy"]["whenIdle"] == shown
        for bad in (59, -1, 604801, "15m", True):
            problem(bench.ask("PATCH", ONE, {"policy": {"whenIdle": bad}}, headers=merge), 400)
        assert bench.get(ONE)["policy"]["whenIdle"] is None

    on_a_scheduler(work, hosts=1, furnish=with_provider)


def test_hosts_that_have_yielded_are_counted() -> None:
    def work(bench: Bench) -> None:
        bench.created(policy={"minHealthySeconds": 0, "whenIdle": 60})
        bench.deployed()
        found = bench.wait(ONE, lambda e: e["counts"]["yielded"] == 2)
        assert adds_up(found["counts"])
        assert found["health"]["status"] == "healthy"
        (item, _) = bench.get(f"{ONE}/hosts?class=yielded")["items"]
        assert item["reason"] in ("yielded", "yielded-stop", "stopping")

    on_a_scheduler(work, hosts=1, furnish=with_provider)


# --- Adopting -------------------------------------------------------------------------------------


def test_creating_with_adopt_takes_tasks_over_as_they_are() -> None:
    def work(bench: Bench) -> None:
        all_running(bench)
        before = live(bench)
        made = bench.created(existing="adopt")
        assert (made["adopted"], made["tookOver"]) == (1, 0)
        counts = {name: n for name, n in made["counts"].items() if n}
        assert counts == {
            "hosts": 3,
            "wanted": 3,
            "current": 1,
            "occupied": 1,
            "missing": 1,
            "unavailable": 2,
        }
        (mine,) = bench.get(f"{ONE}/hosts?class=current")["items"]
        assert mine["task"]["arn"] in before
        assert mine["verdict"] == "keep"
        bench.ask("POST", f"{ONE}/deployments")
        found = bench.wait(ONE, lambda e: e["counts"]["current"] == 2)
        assert found["adopted"] == found["deployment"]["reused"] == 1
        assert set(before) <= set(live(bench))

    on_a_scheduler(work, hosts=0, furnish=furnished)


def test_what_runs_another_definition_is_outdated_before_the_first_deployment() -> None:
    def work(bench: Bench) -> None:
        all_running(bench)
        made = bench.created(existing="adopt", taskDefinition="agent:1", policy=POLICY)
        assert (made["counts"]["outdated"], made["counts"]["current"]) == (1, 0)
        (mine,) = bench.get(f"{ONE}/hosts?class=outdated")["items"]
        assert (mine["reason"], mine["verdict"]) == ("outdated", "keep")
        assert bench.world(lambda cloud, _: cloud.log) == []
        bench.ask("POST", f"{ONE}/deployments")
        found = bench.wait(ONE, lambda e: e["counts"]["current"] == 2)
        assert found["adopted"] == 0

    on_a_scheduler(work, hosts=0, furnish=furnished)


def test_creating_with_stop_has_them_replaced_by_the_first_deployment() -> None:
    def work(bench: Bench) -> None:
        all_running(bench)
        before = live(bench)
        made = bench.created(existing="stop", policy=POLICY)
        assert (made["counts"]["outdated"], made["adopted"]) == (1, 1)
        bench.ask("POST", f"{ONE}/deployments")
        bench.wait(ONE, lambda e: e["counts"]["current"] == 2)
        gone = set(before) - set(live(bench))
        assert len(gone) == 1

    on_a_scheduler(work, hosts=0, furnish=furnished)


def test_adopting_says_what_it_would_do_then_does_it_and_again_does_nothing() -> None:
    def work(bench: Bench) -> None:
        bench.created(existing="wait")
        dry = bench.ask("POST", f"{ADOPTIONS}?dryRun=true", {}).json
        assert (len(dry["adopted"]), dry["already"], dry["dryRun"]) == (1, 0, True)
        (no,) = dry["refused"]
        assert no["why"] == "service"
        assert "service/shipper" in no["sentence"]
        assert no["instanceId"].startswith("i-")
        assert bench.get(ONE)["adopted"] == 0
        done = bench.ask("POST", ADOPTIONS, {})
        assert done.status == 200
        assert done.json == {**dry, "dryRun": False}
        assert bench.get(ONE)["adopted"] == 1
        again = bench.ask("POST", ADOPTIONS, {}).json
        assert (again["adopted"], again["already"]) == ([], 1)
        assert bench.world(lambda cloud, _: cloud.log) == []

    on_a_scheduler(work, hosts=0, furnish=furnished)


def test_tasks_are_adopted_by_what_they_are() -> None:
    def work(bench: Bench) -> None:
        bench.created(existing="wait")
        tasks = {definition: arn for arn, definition in live(bench).items()}
        other = next(arn for definition, arn in tasks.items() if "other" in definition)
        assert bench.ask("POST", ADOPTIONS, {"startedBy": "nobody"}).json["adopted"] == []
        by_family = bench.ask("POST", f"{ADOPTIONS}?dryRun=true", {"family": "other"}).json
        assert [a["task"]["arn"] for a in by_family["adopted"]] == [other]
        for name in (other, other.rsplit("/", 1)[-1]):
            named = bench.ask("POST", f"{ADOPTIONS}?dryRun=true", {"tasks": [name]}).json
            assert [a["task"]["arn"] for a in named["adopted"]] == [other]
        both = {"tasks": [other], "family": "agent"}
        assert bench.ask("POST", ADOPTIONS, both).json["adopted"] == []
        bench.world(lambda cloud, now: cloud.kill_task(other, now=now))
        bench.wait("/v2/status", lambda _: other not in live(bench))
        bench.wait(
            "/v2/status",
            lambda _: bench.ask("POST", ADOPTIONS, {"tasks": [other]}).json["refused"],
        )
        (no,) = bench.ask("POST", ADOPTIONS, {"tasks": [other]}).json["refused"]
        assert (no["why"], no["sentence"]) == ("stopped", "it has stopped")

    on_a_scheduler(work, hosts=0, furnish=furnished)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"tasks": []}, 400),
        ({"tasks": [""]}, 400),
        ({"tasks": ["f" * 32]}, 404),
        ({"tasks": ["arn:aws:ecs:us-east-1:111122223333:task/demo/" + "f" * 32]}, 404),
        ({"family": ""}, 400),
        ({"family": "agent:2"}, 400),
        ({"started_by": "x"}, 400),
        ({"replace": 1}, 400),
        (None, 400),
    ],
)
def test_an_adoption_that_makes_no_sense_adopts_nothing(body: object, status: int) -> None:
    def work(bench: Bench) -> None:
        bench.created(existing="wait")
        problem(bench.ask("POST", ADOPTIONS, body), status)
        problem(bench.ask("POST", f"{ADOPTIONS}?dryRun=yes", {}), 400)
        problem(bench.ask("POST", f"{EVERY}/demo/metrics/adoptions", {}), 404)
        assert bench.get(ONE)["adopted"] == 0

    on_a_scheduler(work, hosts=0, furnish=furnished)


# --- Leaving, and coming back ---------------------------------------------------------------------


def test_an_environment_takes_over_what_the_deleted_one_of_its_name_left() -> None:
    def work(bench: Bench) -> None:
        assert bench.created(taskDefinition="agent:1")["tookOver"] == 0
        bench.deployed()
        before = live(bench)
        assert bench.ask("DELETE", ONE).json["tasksLeftRunning"] == 3
        made = bench.created(taskDefinition="agent:1")
        assert (made["tookOver"], made["adopted"], made["counts"]["current"]) == (3, 0, 3)
        assert bench.get("/v2/orphans") == {"items": []}
        bench.deployed()
        assert live(bench) == before
        assert bench.ask("DELETE", ONE).status == 200
        made = bench.created(taskDefinition="agent:2")
        assert (made["tookOver"], made["counts"]["outdated"]) == (3, 3)
        bench.deployed()
        assert not set(before) & set(live(bench))

    on_a_scheduler(work)


def test_deleting_with_stop_stops_the_tasks_and_then_it_is_gone() -> None:
    def work(bench: Bench) -> None:
        bench.created()
        bench.deployed()
        bench.world(lambda cloud, now: cloud.add_host("demo", now=now))
        bench.wait(ONE, current(4))
        answer = bench.ask("DELETE", f"{ONE}?tasks=stop")
        assert answer.status == 202
        assert (answer.json["stopping"], answer.json["tasksLeftRunning"]) == (4, 0)
        ending = bench.ask("GET", ONE)
        if ending.status == 200:
            assert ending.json["ending"] is True
            assert ending.json["tasksLeft"] <= 4
            assert ending.json["health"] == {"status": "healthy", "problems": []}
        bench.wait(EVERY, lambda page: page["items"] == [])
        bench.wait("/v2/orphans", lambda page: page["items"] == [] and live(bench) == {})
        problem(bench.ask("DELETE", f"{ONE}?tasks=stop"), 404)

    on_a_scheduler(work)


def test_an_environment_that_is_ending_takes_no_changes_and_can_be_told_to_keep() -> None:
    def work(bench: Bench) -> None:
        bench.created()
        bench.deployed()
        freeze = bench.ask(
            "POST", "/v2/freezes", {"scope": "everything", "seconds": 9000, "why": "look first"}
        )
        assert freeze.status == 201
        assert bench.ask("DELETE", f"{ONE}?tasks=stop").json["stopping"] == 3
        assert bench.ask("DELETE", f"{ONE}?tasks=stop").status == 202
        shown = bench.get(ONE)
        assert (shown["ending"], shown["tasksLeft"]) == (True, 3)
        assert shown["health"]["status"] == "healthy"
        assert bench.get("/v2/status")["coverage"] == {"wanted": 0, "available": 0}
        problem(bench.ask("POST", f"{ONE}/deployments"), 409)
        problem(bench.ask("POST", ADOPTIONS, {}), 409)
        merge = {"Content-Type": "application/merge-patch+json"}
        problem(bench.ask("PATCH", ONE, {"policy": {"maxUnavailable": 2}}, headers=merge), 409)
        assert bench.ask("DELETE", f"{ONE}?tasks=keep").json["tasksLeftRunning"] == 3
        assert len(bench.get("/v2/orphans")["items"]) == 3
        assert bench.world(lambda cloud, _: [c.operation for c in cloud.log]).count("StopTask") == 0

    on_a_scheduler(work)


@pytest.mark.parametrize("query", ["tasks=drop", "tasks=", "tasks=stop&tasks=keep", "task=stop"])
def test_deleting_in_an_unknown_way_deletes_nothing(query: str) -> None:
    def work(bench: Bench) -> None:
        bench.created()
        problem(bench.ask("DELETE", f"{ONE}?{query}"), 400)
        assert bench.get(ONE)["ending"] is False

    on_a_scheduler(work, hosts=0)
