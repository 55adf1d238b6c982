"""/v2 over a real socket: taking over from a DAEMON service that acts, and giving back."""

import json
import shlex
from typing import Any

from blox.scheduler.migrations import constraint_of
from support.api_v2 import ONE, problem
from support.running import Bench, Response, on_a_scheduler

MIGRATION = f"{ONE}/migration"
SERVICE = "/v2/services/demo/shipper"
EASY = {"minHealthySeconds": 0, "maxUnavailable": "100%"}
MARK = "blox.logs"


def furnished(cloud: Any, now: float) -> None:
    """A service on every host."""
    cloud.add_service("demo", "shipper", "DAEMON", now=now, definition="agent")


def shipped(bench: Bench) -> None:
    """Wait until the service runs everywhere."""
    bench.wait(SERVICE, lambda s: s["running"] == s["desired"] == 3)


def begun(bench: Bench, **more: object) -> Any:
    """An environment that takes over from it, deployed."""
    shipped(bench)
    bench.created(existing="wait", policy=EASY)
    answer = bench.ask("POST", MIGRATION, {"service": "service/shipper", "wave": 3, **more})
    assert answer.status == 201, answer.text
    assert answer.headers["location"] == MIGRATION
    assert bench.ask("POST", f"{ONE}/deployments").status == 201
    return answer.json


def constrain(bench: Bench, report: Any) -> None:
    """What the operator does with the command that is shown."""
    words = shlex.split(report["constraint"]["command"])
    assert words[:3] == ["aws", "ecs", "update-service"]
    given = words[words.index("--placement-constraints") + 1 :]
    wanted = [dict(part.split("=", 1) for part in word.split(",")) for word in given]
    asked: dict[str, object] = {
        "cluster": "demo",
        "service": "shipper",
        "placementConstraints": wanted,
    }
    bench.world(lambda cloud, now: cloud.call("UpdateService", asked, now=now))


def adds_up(report: Any) -> bool:
    places = report["places"]
    names = ("ours", "moving", "aside", "leaving", "theirs", "unmovable")
    return bool(places["hosts"] == sum(places[name] for name in names))


def in_phase(bench: Bench, phase: str) -> Any:
    def holds(report: Any) -> bool:
        assert adds_up(report)
        return bool(report["phase"] == phase)

    return bench.wait(MIGRATION, holds, within=40.0, what=phase)


def patched(bench: Bench, change: object) -> Response:
    headers = {"Content-Type": "application/merge-patch+json"}
    return bench.ask("PATCH", MIGRATION, json.dumps(change).encode(), headers=headers)


def test_a_service_is_shown_as_ecs_shows_it() -> None:
    def work(bench: Bench) -> None:
        shipped(bench)
        found = bench.get(SERVICE)
        assert found["strategy"] == "DAEMON"
        assert found["taskDefinition"].endswith("task-definition/agent:2")
        assert (found["cluster"], found["status"], found["placementConstraints"]) == (
            "demo",
            "ACTIVE",
            [],
        )
        problem(bench.ask("GET", "/v2/services/demo/none"), 404)
        problem(bench.ask("GET", "/v2/services/none/shipper"), 404)
        problem(bench.ask("GET", "/v2/services/d%20x/shipper"), 400)
        problem(bench.ask("GET", "/v2/services/demo/a%20b"), 400)
        bench.world(lambda cloud, _: cloud.deny("DescribeServices"))
        assert "ecs:DescribeServices" in problem(bench.ask("GET", SERVICE), 503)

    on_a_scheduler(work, furnish=furnished)


def test_there_and_to_the_end() -> None:
    def work(bench: Bench) -> None:
        report = begun(bench)
        assert report["constraint"]["expression"] == constraint_of(MARK)
        assert report["constraint"]["command"].endswith(
            "--placement-constraints 'type=memberOf,expression=attribute:blox.logs !exists'"
        )
        report = in_phase(bench, "constraint")
        assert (report["who"], report["constraint"]["present"]) == ("you", False)
        assert report["places"]["theirs"] == 3
        constrain(bench, report)
        report = in_phase(bench, "moved")
        assert report["constraint"]["present"] is True
        assert (report["places"]["ours"], report["moved"]) == (3, 3)
        gaps = report["there"]
        assert (gaps["hosts"], gaps["measured"], gaps["hostsWithTwo"]) == (3, 3, 0)
        assert 0 < gaps["meanSeconds"] <= gaps["worstSeconds"] == report["worstGapSeconds"]
        assert gaps["worstHost"]["instanceId"].startswith("i-")
        arrived = report["arrivals"]
        assert [a["number"] for a in arrived] == [1, 2, 3]
        assert max(a["gapSeconds"] for a in arrived) == gaps["worstSeconds"]
        assert bench.get(ONE)["migration"]["moved"] == 3
        assert "--back" in problem(bench.ask("DELETE", ONE), 409)
        assert "delete-service" in problem(bench.ask("DELETE", MIGRATION), 409)
        assert report["deleteCommand"] == (
            "aws ecs delete-service --cluster demo --service shipper"
        )
        bench.world(lambda cloud, now: cloud.delete_service("demo", "shipper", now=now))
        bench.wait(ONE, lambda e: e["migration"] is None)
        problem(bench.ask("GET", MIGRATION), 404)
        assert bench.get(ONE)["counts"]["current"] == 3
        assert bench.ask("DELETE", ONE).status == 200

    on_a_scheduler(work, furnish=furnished)


def test_and_back_again() -> None:
    def work(bench: Bench) -> None:
        constrain(bench, begun(bench))
        in_phase(bench, "moved")
        answer = patched(bench, {"back": True, "wave": 2})
        assert answer.status == 200
        assert (answer.json["back"], answer.json["phase"]) == (True, "giving-back")
        report = in_phase(bench, "given-back")
        assert (report["wave"], report["places"]["theirs"]) == (2, 3)
        assert (report["returned"]["hosts"], report["returned"]["measured"]) == (3, 3)
        assert report["constraint"]["undoCommand"].endswith("--placement-constraints '[]'")
        assert "turn round" in problem(bench.ask("POST", MIGRATION, {"service": "shipper"}), 409)
        bench.wait(SERVICE, lambda s: s["running"] == 3)
        assert bench.ask("DELETE", ONE).status == 200

    on_a_scheduler(work, furnish=furnished)


def test_what_is_wrong_is_refused_and_changes_nothing() -> None:
    def work(bench: Bench) -> None:
        shipped(bench)
        bench.created(existing="wait", policy=EASY)
        problem(bench.ask("GET", MIGRATION), 404)
        problem(bench.ask("DELETE", MIGRATION), 404)
        problem(patched(bench, {"back": True}), 404)
        for body in ({}, {"service": "shipper", "waves": 2}, {"service": "shipper", "wave": 0}):
            problem(bench.ask("POST", MIGRATION, body), 400)
        problem(bench.ask("POST", MIGRATION, {"service": "none"}), 404)
        assert bench.get(ONE)["migration"] is None
        assert bench.ask("POST", MIGRATION, {"service": "shipper"}).status == 201
        problem(patched(bench, {"wave": 101}), 400)
        again = bench.ask("POST", MIGRATION, {"service": "shipper", "wave": 5})
        assert (again.status, again.json["wave"]) == (200, 5)
        problem(bench.ask("POST", MIGRATION, {"service": "other"}), 409)
        ended = bench.ask("DELETE", MIGRATION)
        assert (ended.status, ended.json["state"]) == (200, "ended")
        assert bench.get(ONE)["migration"] is None

    on_a_scheduler(work, furnish=furnished)


def test_v1_deletes_no_environment_that_hosts_depend_on() -> None:
    def work(bench: Bench) -> None:
        constrain(bench, begun(bench))
        in_phase(bench, "moved")
        answer = bench.ask("DELETE", "/v1/environments/logs")
        assert answer.status == 400
        assert "Give them back first" in answer.text
        assert bench.get(ONE)["counts"]["current"] == 3

    on_a_scheduler(work, furnish=furnished)


def test_hosts_that_cannot_be_moved_are_told_with_the_reason() -> None:
    def furnish(cloud: Any, now: float) -> None:
        furnished(cloud, now)
        cloud.add_host("demo", now=now, attributes={f"mine{i}": "x" for i in range(10)})

    def work(bench: Bench) -> None:
        bench.wait(SERVICE, lambda s: s["running"] == 3)
        bench.created(existing="wait", policy=EASY)
        report = bench.ask("POST", MIGRATION, {"service": "shipper", "wave": 3}).json
        assert bench.ask("POST", f"{ONE}/deployments").status == 201
        constrain(bench, report)
        report = in_phase(bench, "moved")
        assert (report["places"]["ours"], report["places"]["unmovable"]) == (2, 1)
        (cause,) = report["unmovable"]
        assert (cause["code"], cause["count"]) == ("refused", 1)
        assert "AttributeLimitExceededException" in cause["sentence"]

    on_a_scheduler(work, hosts=2, furnish=furnish)


def test_an_observing_scheduler_says_so() -> None:
    def work(bench: Bench) -> None:
        report = begun(bench)
        constrain(bench, report)
        report = in_phase(bench, "observing")
        assert (report["who"], report["places"]["theirs"]) == ("you", 3)
        assert bench.world(
            lambda cloud, _: all(MARK not in h.attributes for h in cloud.hosts.values())
        )

    on_a_scheduler(work, furnish=furnished, observe=True)
