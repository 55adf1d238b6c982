"""/v2 over a real socket: hosts and their stories, orphans, the process; changes show at once."""

import json
from typing import Any

from blox.clusterstate.ingest import Rejected
from blox.scheduler.report import Problem
from blox.settings import Assumptions
from support.api_v2 import ONE, UNWANTED, WANTED, current, patch, problem
from support.running import Bench, on_a_scheduler

# --- Deleting -------------------------------------------------------------------------------------


def test_deleting_leaves_orphans_which_are_listed_and_occupy_their_hosts() -> None:
    def work(bench: Bench) -> None:
        bench.created()
        bench.deployed()
        old = bench.get(ONE)["id"]
        assert bench.get("/v2/orphans") == {"items": []}
        deleted = bench.ask("DELETE", ONE)
        assert deleted.status == 200
        assert (deleted.json["tasksLeftRunning"], deleted.json["stopping"]) == (3, 0)
        problem(bench.ask("DELETE", ONE), 404)
        orphans = bench.get("/v2/orphans")["items"]
        assert len(orphans) == bench.get("/v2/status")["orphans"] == 3
        assert {(o["environment"], o["environmentId"], o["cluster"]) for o in orphans} == {
            ("logs", old, "demo")
        }
        assert all(o["instanceId"].startswith("i-") for o in orphans)
        bench.created("other", existing="wait")
        assert bench.ask("POST", "/v2/environments/demo/other/deployments").status == 201
        found = bench.wait("/v2/environments/demo/other", lambda e: e["counts"]["occupied"] == 3)
        assert "deleted environment logs" in found["health"]["problems"][0]["sentence"]
        task = orphans[0]["task"]["arn"]
        bench.world(lambda cloud, now: cloud.kill_task(task, now=now))
        bench.wait("/v2/orphans", lambda page: len(page["items"]) == 2)

    on_a_scheduler(work)


# --- Hosts ----------------------------------------------------------------------------------------


def test_a_host_is_explained_under_each_of_its_names() -> None:
    def furnish(cloud: Any, now: float) -> None:
        cloud.add_host("demo", now=now, instance_id="mi-0123456789abcdef0", external=True)

    def work(bench: Bench) -> None:
        bench.created()
        bench.created("metrics")
        bench.deployed()
        hosts = bench.get(f"{ONE}/hosts")["items"]
        assert len(hosts) == 2
        for host in hosts:
            for name in (
                host["instanceId"],
                host["id"],
                host["arn"],
                host["arn"].replace("/", "%2F"),
            ):
                told = bench.get(f"{ONE}/hosts/{name}")
                assert told["arn"] == host["arn"]
                assert (told["environment"], told["cluster"]) == ("logs", "demo")
                everywhere = bench.get(f"/v2/hosts/{name}")
                assert everywhere["host"]["arn"] == host["arn"]
                assert [e["environment"] for e in everywhere["environments"]] == [
                    "logs",
                    "metrics",
                ]
        assert "mi-0123456789abcdef0" in [host["instanceId"] for host in hosts]
        old_form = hosts[0]["arn"].replace("/demo/", "/")
        problem(bench.ask("GET", f"/v2/hosts/{old_form}"), 404)

    on_a_scheduler(work, hosts=1, furnish=furnish)


def test_a_story_tells_what_was_decided_called_and_answered() -> None:
    def work(bench: Bench) -> None:
        bench.created()
        bench.deployed()
        (host,) = bench.get(f"{ONE}/hosts")["items"]
        told = bench.get(f"{ONE}/hosts/{host['instanceId']}")
        assert (told["verdict"], told["class"], told["reason"]) == ("keep", "current", "current")
        assert told["task"]["status"] == "RUNNING"
        assert told["task"]["definition"].endswith("agent:2")
        whats = [entry["what"] for entry in told["story"]]
        place = whats.index("called")
        assert whats[place - 1 : place + 2] == ["decided", "called", "answered"]
        assert told["story"][place - 1]["text"].startswith("start: ")
        answered = told["story"][place + 1]
        assert answered["details"]["request"]
        assert answered["details"]["task"] == told["task"]["arn"]
        assert told["storySince"] <= answered["at"]

    on_a_scheduler(work, hosts=1)


def test_of_two_records_of_one_machine_the_newer_is_explained() -> None:
    def work(bench: Bench) -> None:
        bench.created()
        bench.deployed()
        (host,) = bench.get(f"{ONE}/hosts")["items"]
        newer = bench.world(lambda cloud, now: cloud.duplicate_host(host["arn"], now=now))
        bench.wait(ONE, lambda e: e["counts"]["superseded"] == 1)
        assert bench.get(f"/v2/hosts/{host['instanceId']}")["host"]["arn"] == newer
        old = bench.get(f"/v2/hosts/{host['arn']}")
        assert old["environments"][0]["class"] == "superseded"

    on_a_scheduler(work, hosts=1)


def test_hosts_come_in_pages_of_the_size_asked() -> None:
    def work(bench: Bench) -> None:
        bench.created()
        bench.deployed()
        whole = [host["arn"] for host in bench.get(f"{ONE}/hosts")["items"]]
        assert whole == sorted(whole)
        found: list[str] = []
        path = f"{ONE}/hosts?limit=2"
        for size in (2, 2, 1):
            page = bench.get(path)
            assert len(page["items"]) == size
            found += [host["arn"] for host in page["items"]]
            path = f"{ONE}/hosts?limit=2&nextToken={page.get('nextToken')}"
        assert "nextToken" not in page
        assert found == whole
        for bad in ("limit=0", "limit=1001", "limit=x", "nextToken=x", "class=good", "colour=1"):
            assert problem(bench.ask("GET", f"{ONE}/hosts?{bad}"), 400)

    on_a_scheduler(work, hosts=5)


def test_a_scheduler_that_observes_says_what_it_would_do_and_does_nothing() -> None:
    def work(bench: Bench) -> None:
        bench.created()
        assert bench.ask("POST", f"{ONE}/deployments").status == 201
        hosts = bench.wait(
            f"{ONE}/hosts",
            lambda page: [h.get("would") for h in page["items"]] == ["would start"] * 3,
        )["items"]
        assert {h["verdict"] for h in hosts} == {"start"}
        assert bench.get("/v2/status")["mode"] == "observing"
        assert bench.world(lambda cloud, _: cloud.log) == []

    on_a_scheduler(work, observe=True)


# --- Freshness ------------------------------------------------------------------------------------


def test_a_change_is_seen_by_the_very_next_request() -> None:
    def work(bench: Bench) -> None:
        bench.created()
        bench.deployed()
        assert bench.get(ONE)["counts"]["current"] == 3
        for number in range(1, 6):
            changed = patch(bench, {"policy": {"maxUnavailable": number}}).json
            seen = bench.get(ONE)
            assert (seen["token"], seen["policy"]) == (changed["token"], changed["policy"])
            assert seen["policy"]["maxUnavailable"] == str(number)
        made = bench.ask("POST", f"{ONE}/deployments").json["id"]
        assert bench.get(ONE)["deployment"]["id"] == made
        listed = bench.get("/v2/environments")["items"]
        assert listed[0]["deployment"]["id"] == made
        assert bench.ask("DELETE", ONE).status == 200
        problem(bench.ask("GET", ONE), 404)
        assert bench.get("/v2/environments")["items"] == []

    on_a_scheduler(work)


def test_what_the_scheduler_decides_is_what_is_shown() -> None:
    """The cached body equals one that is made anew, after every change of the world."""

    def work(bench: Bench) -> None:
        bench.created()
        bench.deployed()
        state = bench.process.scheduler.state
        environment = bench.environment("logs")
        host = bench.world(lambda cloud, now: cloud.add_host("demo", now=now))
        seen = set()

        def counted() -> dict[str, int]:
            board = state.tracked[environment.id].board
            return {slot_class.value: n for slot_class, n in board.classes.items()}

        def look() -> bool:
            before = bench.on_loop(counted)
            shown = bench.get(ONE)["counts"]
            after = bench.on_loop(counted)
            seen.add(json.dumps(before))
            if before == after:
                assert {name: shown[name] for name in before} == before
            return bool(shown["current"] == 4)

        bench.wait("/v2/status", lambda _: look())
        task = bench.world(lambda cloud, _: cloud.live_tasks(host)[0].arn)
        bench.world(lambda cloud, now: cloud.kill_task(task, now=now))
        bench.wait("/v2/status", lambda _: not look())
        bench.wait("/v2/status", lambda _: look())
        assert len(seen) >= 3

    on_a_scheduler(work)


def test_what_lasts_too_long_makes_an_environment_unhealthy_though_nothing_changes() -> None:
    def work(bench: Bench) -> None:
        bench.created()
        bench.deployed()
        starts = bench.process.scheduler.starts
        starts.allowed = False
        bench.world(lambda cloud, now: cloud.add_host("demo", now=now))
        found = bench.wait(ONE, lambda e: e["counts"]["missing"] == 1)
        assert found["health"]["status"] == "healthy"
        late = bench.wait(ONE, lambda e: e["health"]["status"] == "unhealthy")
        assert late["counts"] == found["counts"]
        (told,) = late["health"]["problems"]
        assert (told["code"], told["count"], told["who"]) == ("start", 1, "blox")
        bench.on_loop(lambda: bench.process.scheduler.allow_starts(Assumptions()))
        bench.wait(ONE, lambda e: e["health"]["status"] == "healthy" and current(4)(e))

    on_a_scheduler(work)


# --- The process ----------------------------------------------------------------------------------


def test_status_tells_of_the_process_and_its_clusters() -> None:
    def work(bench: Bench) -> None:
        empty = bench.get("/v2/status")
        assert (empty["domain"], empty["clusters"], empty["mode"]) == (None, [], "acting")
        bench.created()
        bench.deployed()
        status = bench.get("/v2/status")
        assert status["version"] == "1.0.0"
        assert status["domain"] == "111122223333/us-east-1"
        (cluster,) = status["clusters"]
        assert (cluster["name"], cluster["primed"], cluster["hosts"], cluster["environments"]) == (
            "demo",
            True,
            3,
            1,
        )
        assert 0 <= cluster["ageSeconds"] < 120
        assert status["environments"] == {"total": 1, "healthy": 1, "unhealthy": 0}
        assumed = status["assumptions"]
        assert (assumed["signatureAge"], assumed["acceptanceLag"], assumed["readLag"]) == (
            300,
            60,
            300,
        )
        assert (assumed["backdate"], assumed["doubtWindow"], assumed["checked"]) == (240, 420, True)
        assert (status["conditions"], status["holding"]) == ([], None)

    on_a_scheduler(work)


def test_a_condition_of_the_process_is_one_of_every_deployed_environment() -> None:
    def work(bench: Bench) -> None:
        bench.created()
        bench.deployed()
        assert bench.get(ONE)["health"]["status"] == "healthy"
        bench.told.conditions = (
            Problem(code="store", sentence="the disk is full", who="you", next_step="free some"),
        )
        for health in (
            bench.get(ONE)["health"],
            bench.get("/v2/environments")["items"][0]["health"],
        ):
            assert health["status"] == "unhealthy"
            assert health["problems"][0]["sentence"] == "the disk is full"
        assert bench.get("/v1/environments/logs")["health"] == "unhealthy"
        assert bench.get("/v2/status")["conditions"][0]["nextStep"] == "free some"
        bench.told.conditions = ()
        assert bench.get(ONE)["health"] == {"status": "healthy", "problems": []}

    on_a_scheduler(work)


def test_messages_that_nobody_understood_are_listed_newest_first() -> None:
    def work(bench: Bench) -> None:
        assert bench.get("/v2/queue/rejected") == {"items": []}
        bench.told.rejected = [
            Rejected(id="a", reason="not JSON", body=b"\xffhello", size=6, at=1_750_000_000.0),
            Rejected(id="b", reason="no detail", body=b"{}", size=2, at=1_750_000_001.0),
        ]
        items = bench.get("/v2/queue/rejected")["items"]
        assert [item["id"] for item in items] == ["b", "a"]
        assert items[1] == {
            "id": "a",
            "reason": "not JSON",
            "body": "\ufffdhello",
            "size": 6,
            "at": "2025-06-15T15:06:40.000Z",
        }
        assert bench.get("/v2/status")["rejectedMessages"] == 2

    on_a_scheduler(work, hosts=0)


def test_the_document_describes_every_path() -> None:
    def work(bench: Bench) -> None:
        document = bench.get("/openapi.json")
        assert document["openapi"].startswith("3.1")
        described = {
            (method.upper(), path)
            for path, methods in document["paths"].items()
            for method in methods
        }
        ids = [
            operation["operationId"]
            for methods in document["paths"].values()
            for operation in methods.values()
        ]
        assert len(ids) == len(set(ids))
        for wanted in (
            ("POST", "/v1/environments/{name}/deployments"),
            ("PATCH", "/v2/environments/{cluster}/{name}"),
            ("GET", "/v2/environments/{cluster}/{name}/hosts/{host}"),
            ("GET", "/v2/hosts/{host}"),
            ("GET", "/v2/orphans"),
            ("GET", "/v2/status"),
            ("GET", "/v2/reasons"),
            ("POST", "/v2/environments/{cluster}/{name}/adoptions"),
            ("POST", "/v2/environments/{cluster}/{name}/confirmations"),
            ("POST", "/v2/freezes"),
            ("GET", "/v2/freezes"),
            ("DELETE", "/v2/freezes/{id}"),
            ("POST", "/v2/holds"),
            ("GET", "/v2/holds"),
            ("DELETE", "/v2/holds/{host}"),
            ("GET", "/v2/queue/rejected"),
        ):
            assert wanted in described
        counters = document["components"]["schemas"]["Counters"]
        assert set(counters["properties"]) == {
            "hosts",
            "wanted",
            "superseded",
            "unavailable",
            *WANTED,
            *UNWANTED,
        }

    on_a_scheduler(work, hosts=0)
