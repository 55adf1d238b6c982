"""/v2 over a real socket: what runs on a host, who holds its room, and the table of reasons."""

from typing import Any

from blox.scheduler.reasons import REASONS
from support.api_v2 import ONE
from support.running import Bench, on_a_scheduler


def furnish(cloud: Any, now: float) -> None:
    """A host with room for the daemon (64 CPU units, 128 MiB) and something of a stranger's."""
    cloud.add_definition("ports", now=now, cpu=128, memory=256, host_ports=[24224])
    cloud.add_definition("other", now=now, cpu=512, memory=1024, host_ports=[8080])
    host = cloud.add_host("demo", now=now, cpu=2048, memory=4096)
    cloud.start_foreign("demo", host, "other", now=now)


def by_name(told: Any) -> dict[str, Any]:
    return {resource["name"]: resource for resource in told["resources"]}


def test_who_holds_a_hosts_room_is_told_as_far_as_it_is_known() -> None:
    def work(bench: Bench) -> None:
        bench.created(taskDefinition="ports")
        bench.deployed()
        (host,) = bench.get(f"{ONE}/hosts")["items"]
        path = f"/v2/hosts/{host['instanceId']}"
        told = bench.wait(path, lambda h: by_name(h)["cpu"]["remaining"] == 2048 - 128 - 512)
        mine, theirs = told["tasks"]
        assert (mine["environment"], mine["holder"]) == ("logs", "environment logs")
        assert (mine["family"], mine["group"], mine["status"]) == ("ports", "blox:logs", "RUNNING")
        assert mine["since"] is not None
        assert (theirs["environment"], theirs["family"]) == (None, "other")
        assert theirs["holder"] == "somebody's task of family:other"
        found = by_name(told)
        for name, registered, share, unknown in (
            ("cpu", 2048, 128, 512),
            ("memory", 4096, 256, 1024),
        ):
            resource = found[name]
            assert resource["registered"] == registered
            assert [(h["environment"], h["share"]) for h in resource["holders"]] == [
                ("logs", share),
                (None, None),
            ]
            assert resource["holders"][1]["task"] == theirs["task"]
            assert resource["unaccounted"] == unknown
            assert registered == share + unknown + resource["remaining"]
        port = found["port 24224/tcp"]
        assert (port["registered"], port["remaining"], port["unaccounted"]) == (1, 0, 0)
        assert [h["task"] for h in port["holders"]] == [mine["task"]]
        assert (found["port 8080/tcp"]["holders"], found["port 8080/tcp"]["unaccounted"]) == ([], 1)
        assert (found["port 22/tcp"]["registered"], found["port 22/tcp"]["unaccounted"]) == (0, 0)

    on_a_scheduler(work, hosts=0, furnish=furnish)


def test_a_stranger_whose_definition_is_known_has_a_share() -> None:
    def work(bench: Bench) -> None:
        bench.created(taskDefinition="other", selector="attribute:none exists", existing="wait")
        path = f"/v2/hosts/{bench.get(f'{ONE}/hosts')['items'][0]['id']}"
        told = bench.wait(path, lambda h: by_name(h)["memory"]["remaining"] == 3072)
        memory = by_name(told)["memory"]
        assert [(h["environment"], h["share"]) for h in memory["holders"]] == [(None, 1024)]
        assert memory["unaccounted"] == 0
        assert [h["share"] for h in by_name(told)["port 8080/tcp"]["holders"]] == [1]
        assert told["environments"][0]["reason"] == "unmatched"

    on_a_scheduler(work, hosts=0, furnish=furnish)


def test_a_share_counts_the_overrides_of_the_environment() -> None:
    def work(bench: Bench) -> None:
        bench.created(taskDefinition="ports", task={"overrides": {"memory": "512"}})
        bench.deployed()
        (host,) = bench.get(f"{ONE}/hosts")["items"]
        told = bench.get(f"/v2/hosts/{host['arn']}")
        assert by_name(told)["memory"]["holders"][0]["share"] == 512

    on_a_scheduler(work, hosts=0, furnish=furnish)


def test_what_was_adopted_and_what_is_orphaned_say_so() -> None:
    def work(bench: Bench) -> None:
        bench.created(taskDefinition="other", existing="adopt")
        (host,) = bench.get(f"{ONE}/hosts")["items"]
        path = f"/v2/hosts/{host['id']}"
        (task,) = bench.get(path)["tasks"]
        assert (task["environment"], task["holder"]) == ("logs", "environment logs")
        assert bench.ask("DELETE", ONE).status == 200
        told = bench.get(path)
        (task,) = told["tasks"]
        assert (task["environment"], task["holder"]) == (None, "deleted environment logs")
        assert by_name(told)["memory"]["holders"][0]["share"] == 1024
        assert told["environments"] == []

    on_a_scheduler(work, hosts=0, furnish=furnish)


def test_the_table_of_reasons_is_served_whole() -> None:
    def work(bench: Bench) -> None:
        items = bench.get("/v2/reasons")["items"]
        assert [item["code"] for item in items] == list(REASONS)
        for item in items:
            reason = REASONS[item["code"]]
            assert (item["sentence"], item["who"], item["nextStep"], item["anchor"]) == (
                reason.sentence,
                reason.who,
                reason.next_step,
                reason.anchor,
            )

    on_a_scheduler(work, hosts=0)


def test_the_document_tells_of_the_questions() -> None:
    def work(bench: Bench) -> None:
        document = bench.get("/openapi.json")
        made = document["paths"]["/v2/environments"]["post"]["responses"]
        schema = made["409"]["content"]["application/problem+json"]["schema"]["$ref"]
        question = document["components"]["schemas"][schema.rsplit("/", 1)[-1]]
        assert {"question", "hosts", "holders", "ways", "providers"} <= set(question["properties"])
        assert "question" not in question["required"]
        asked = document["components"]["schemas"]["NewEnvironment"]
        assert asked["additionalProperties"] is False
        assert "existing" in asked["properties"]
        deleted = document["paths"]["/v2/environments/{cluster}/{name}"]["delete"]
        assert set(deleted["responses"]) >= {"200", "202", "400"}
        (how,) = [p for p in deleted["parameters"] if p["name"] == "tasks"]
        assert how["schema"]["enum"] == ["keep", "stop"]

    on_a_scheduler(work, hosts=0)
