"""/v2 over a real socket: freezes, holds and confirmations, and where they are seen."""

from datetime import datetime
from typing import Any

import pytest

from support.api_v2 import ONE, adds_up, current, patch, problem
from support.running import Bench, on_a_scheduler

FREEZES = "/v2/freezes"
HOLDS = "/v2/holds"
EVERYTHING = {"scope": "everything", "seconds": 7200, "why": "an incident"}
IDS = tuple[str, ...]


def frozen(bench: Bench, **body: object) -> Any:
    answer = bench.ask("POST", FREEZES, body)
    assert answer.status == 201, answer.text
    return answer.json


def seconds_between(begin: str, end: str) -> float:
    return (datetime.fromisoformat(end) - datetime.fromisoformat(begin)).total_seconds()


# --- Freezes --------------------------------------------------------------------------------------


def test_a_freeze_stops_everything_is_seen_everywhere_and_ends_by_thawing() -> None:
    def work(bench: Bench) -> None:
        bench.created()
        bench.deployed()
        answer = bench.ask("POST", FREEZES, EVERYTHING)
        assert answer.status == 201
        made = answer.json
        assert answer.headers["location"] == f"{FREEZES}/{made['id']}"
        assert (made["scope"], made["cluster"], made["environment"], made["why"]) == (
            "everything",
            None,
            None,
            "an incident",
        )
        assert seconds_between(made["createdAt"], made["until"]) == 7200
        assert bench.get(FREEZES)["items"] == bench.get("/v2/status")["freezes"] == [made]
        assert bench.get(answer.headers["location"]) == made
        assert bench.get(ONE)["frozen"] == made
        bench.world(lambda cloud, now: cloud.add_host("demo", now=now))
        found = bench.wait(ONE, lambda e: e["counts"]["missing"] == 1)
        assert found["health"]["status"] == "healthy", "a freeze is no illness by itself"
        (host,) = bench.get(f"{ONE}/hosts?class=missing")["items"]
        assert (host["reason"], host["who"]) == ("frozen", "you")
        assert "an incident" in host["sentence"]
        assert bench.ask("DELETE", answer.headers["location"]).json == made
        bench.wait(ONE, current(4))
        assert bench.get(ONE)["frozen"] is None
        problem(bench.ask("DELETE", answer.headers["location"]), 404)
        problem(bench.ask("GET", answer.headers["location"]), 404)
        assert bench.get(FREEZES) == {"items": []}

    on_a_scheduler(work)


def test_a_freeze_has_a_scope() -> None:
    def work(bench: Bench) -> None:
        bench.created()
        bench.created("metrics")
        arn = bench.get(ONE)["clusterArn"]
        other = "/v2/environments/demo/metrics"
        one = frozen(
            bench, scope="environment", cluster="demo", environment="logs", seconds=60, why="a"
        )
        assert (one["cluster"], one["environment"]) == ("demo", "logs")
        assert bench.get(ONE)["frozen"] == one
        assert bench.get(other)["frozen"] is None
        for name in ("demo", arn):
            whole = frozen(bench, scope="cluster", cluster=name, seconds=600, why="b")
            assert (whole["cluster"], whole["environment"]) == ("demo", None)
        assert bench.get(other)["frozen"] == whole
        assert bench.get(ONE)["frozen"] == whole, "of several, the one that lasts longest"
        frozen(bench, scope="environment", cluster=arn, environment="logs", seconds=60, why="c")
        assert [f["why"] for f in bench.get(FREEZES)["items"]] == ["a", "b", "c"]

    on_a_scheduler(work)


def test_the_same_freeze_again_is_renewed_and_another_reason_is_another_freeze() -> None:
    def work(bench: Bench) -> None:
        first = frozen(bench, **EVERYTHING)
        second = frozen(bench, **{**EVERYTHING, "seconds": 60, "why": "an  incident "})
        assert bench.get(FREEZES)["items"] == [second]
        assert first["id"] != second["id"]
        third = frozen(bench, **{**EVERYTHING, "why": "a change"})
        found: list[Any] = []
        path = f"{FREEZES}?limit=1"
        for _ in range(2):
            page = bench.get(path)
            found += page["items"]
            path = f"{FREEZES}?limit=1&nextToken={page.get('nextToken')}"
        assert found == [second, third]
        assert "nextToken" not in page

    on_a_scheduler(work, hosts=0)


def test_a_freeze_ends_by_itself() -> None:
    def work(bench: Bench) -> None:
        bench.created()
        bench.deployed()
        frozen(bench, **{**EVERYTHING, "seconds": 40})
        bench.world(lambda cloud, now: cloud.add_host("demo", now=now))
        bench.wait(ONE, lambda e: e["frozen"] and e["counts"]["missing"] == 1)
        bench.wait(ONE, lambda e: e["frozen"] is None and current(4)(e))
        assert bench.get("/v2/status")["freezes"] == []

    on_a_scheduler(work)


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"why": " "}, 400),
        ({"why": "x" * 201}, 400),
        ({"why": None}, 400),
        ({"seconds": 0}, 400),
        ({"seconds": 2_592_001}, 400),
        ({"seconds": "2h"}, 400),
        ({"scope": "world"}, 400),
        ({"cluster": "demo"}, 400),
        ({"scope": "cluster"}, 400),
        ({"scope": "cluster", "cluster": "demo", "environment": "logs"}, 400),
        ({"scope": "cluster", "cluster": "prod"}, 404),
        ({"scope": "cluster", "cluster": "arn:aws:ecs:us-east-1:1:cluster/demo"}, 404),
        ({"scope": "environment", "environment": "logs"}, 400),
        ({"scope": "environment", "cluster": "demo", "environment": "metrics"}, 404),
        (
            {
                "scope": "environment",
                "cluster": "arn:aws:ecs:us-east-1:1:cluster/demo",
                "environment": "logs",
            },
            404,
        ),
        ({"until": "tomorrow"}, 400),
    ],
)
def test_a_freeze_that_makes_no_sense_freezes_nothing(change: Any, status: int) -> None:
    def work(bench: Bench) -> None:
        bench.created()
        problem(bench.ask("POST", FREEZES, {**EVERYTHING, **change}), status)
        assert bench.get(FREEZES) == {"items": []}

    on_a_scheduler(work, hosts=0)


# --- Holds ----------------------------------------------------------------------------------------


def test_a_host_that_is_held_is_left_alone_and_counted() -> None:
    def work(bench: Bench) -> None:
        bench.created()
        bench.deployed()
        hosts = bench.get(f"{ONE}/hosts")["items"]
        host = hosts[0]
        forms: IDS = (host["instanceId"], host["id"], host["arn"])
        for name in forms:
            answer = bench.ask("POST", HOLDS, {"host": name, "seconds": 900, "why": "a core dump"})
            assert answer.status == 201
            held = answer.json
            assert (held["instanceId"], held["host"], held["cluster"]) == (
                host["instanceId"],
                host["arn"],
                "demo",
            )
        assert bench.get(HOLDS)["items"] == [held], "a hold replaces the former one"
        assert bench.get("/v2/status")["holds"] == 1
        found = bench.wait(ONE, lambda e: e["counts"]["held"] == 1)
        assert adds_up(found["counts"])
        assert found["counts"]["wanted"] == 2
        assert found["health"]["status"] == "healthy"
        told = bench.get(f"/v2/hosts/{host['instanceId']}")
        assert told["hold"] == held
        assert told["environments"][0]["sentence"] == "somebody holds this host: a core dump"
        task = told["tasks"][0]["task"]
        bench.world(lambda cloud, now: cloud.kill_task(task, now=now))
        bench.wait(f"/v2/hosts/{host['id']}", lambda h: not h["tasks"])
        assert bench.get(ONE)["counts"]["held"] == 1
        assert bench.ask("DELETE", f"{HOLDS}/{host['instanceId']}").json == held
        bench.wait(ONE, current(3))
        assert bench.get(f"/v2/hosts/{host['id']}")["hold"] is None
        for name in forms:
            problem(bench.ask("DELETE", f"{HOLDS}/{name}"), 404)

    on_a_scheduler(work)


def test_holds_are_released_under_each_name_also_of_hosts_that_are_gone() -> None:
    def work(bench: Bench) -> None:
        bench.created()
        bench.deployed()
        hosts = bench.get(f"{ONE}/hosts")["items"]
        for name in ("instanceId", "id", "arn"):
            bench.ask("POST", HOLDS, {"host": hosts[0][name], "seconds": 60, "why": "x"})
            assert bench.ask("DELETE", f"{HOLDS}/{hosts[0][name]}").status == 200
            assert bench.get(HOLDS) == {"items": []}
        bench.ask("POST", HOLDS, {"host": hosts[1]["arn"], "seconds": 9000, "why": "x"})
        bench.world(lambda cloud, now: cloud.terminate_host(hosts[1]["arn"], now=now))
        bench.wait(ONE, lambda e: e["counts"]["hosts"] == 1)
        assert bench.get(HOLDS)["items"][0]["cluster"] == "demo"
        assert bench.ask("DELETE", f"{HOLDS}/{hosts[1]['instanceId']}").status == 200

    on_a_scheduler(work, hosts=2)


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"host": "i-0"}, 404),
        ({"host": ""}, 400),
        ({"seconds": -1}, 400),
        ({"why": ""}, 400),
        ({"cluster": "demo"}, 400),
    ],
)
def test_a_hold_that_makes_no_sense_holds_nothing(change: Any, status: int) -> None:
    def work(bench: Bench) -> None:
        bench.created()
        (host,) = bench.wait(f"{ONE}/hosts", lambda page: page["items"])["items"]
        body = {"host": host["id"], "seconds": 60, "why": "x"}
        problem(bench.ask("POST", HOLDS, {**body, **change}), status)
        assert bench.get(HOLDS) == {"items": []}

    on_a_scheduler(work, hosts=1)


# --- Confirmations --------------------------------------------------------------------------------


def test_too_many_stops_at_once_wait_for_somebody_who_means_them() -> None:
    def furnish(cloud: Any, now: float) -> None:
        for _ in range(12):
            cloud.add_host("demo", now=now, attributes={"pool": "blue"})

    def work(bench: Bench) -> None:
        confirm = f"{ONE}/confirmations"
        bench.created(policy={"minHealthySeconds": 0, "maxUnavailable": "100%"})
        bench.deployed()
        assert bench.get(ONE)["stopsHeld"] == 0
        problem(bench.ask("POST", confirm), 409)
        patch(bench, {"selector": "attribute:pool == bleu"})
        assert bench.ask("POST", f"{ONE}/deployments").status == 201
        found = bench.wait(ONE, lambda e: e["stopsHeld"] == 12)
        assert found["health"]["status"] == "unhealthy"
        (told,) = found["health"]["problems"]
        assert (told["code"], told["count"], told["who"]) == ("stop-held", 12, "you")
        assert told["sentence"].startswith("the selector does not match this host any more")
        assert told["nextStep"].startswith("blox confirm demo/logs if it is meant")
        assert told["since"] is not None
        (host, *_) = bench.get(f"{ONE}/hosts?class=unmatched&limit=1")["items"]
        assert (host["reason"], host["verdict"]) == ("stop-held", "keep")
        problem(bench.ask("POST", f"{confirm}?stops=11"), 409)
        problem(bench.ask("POST", f"{confirm}?stops=many"), 400)
        assert bench.get(ONE)["stopsHeld"] == 12
        answer = bench.ask("POST", f"{confirm}?stops=12")
        assert answer.status == 200
        assert (answer.json["stops"], answer.json["revision"]) == (12, 2)
        bench.wait(ONE, lambda e: e["stopsHeld"] == 0 and e["health"]["status"] == "healthy")
        bench.wait("/v2/status", lambda _: bench.world(lambda c, _: not c.live_tasks(host["arn"])))
        problem(bench.ask("POST", confirm), 409)

    on_a_scheduler(work, hosts=0, furnish=furnish)


# --- The whole ------------------------------------------------------------------------------------


def test_status_counts_what_is_covered_and_problems_say_since_when() -> None:
    def furnish(cloud: Any, now: float) -> None:
        cloud.add_host("demo", now=now, memory=64)

    def work(bench: Bench) -> None:
        assert bench.get("/v2/status")["coverage"] == {"wanted": 0, "available": 0}
        bench.created()
        assert bench.get("/v2/status")["coverage"] == {"wanted": 0, "available": 0}
        bench.ask("POST", f"{ONE}/deployments")
        found = bench.wait(ONE, lambda e: e["counts"]["current"] == 2 and e["counts"]["blocked"])
        assert bench.get("/v2/status")["coverage"] == {"wanted": 3, "available": 2}
        (told,) = found["health"]["problems"]
        assert told["code"] == "no-room"
        since = told["since"]
        assert 0 <= seconds_between(found["createdAt"], since) + 1 < 60
        bench.world(lambda cloud, now: cloud.add_host("demo", now=now))
        found = bench.wait(ONE, current(3))
        again = found["health"]["problems"][0]["since"]
        assert abs(seconds_between(since, again)) <= 1

    on_a_scheduler(work, hosts=2, furnish=furnish)
