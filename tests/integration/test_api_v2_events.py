"""/v2/events of a scheduler: what is told of slots, deployments, environments and clusters."""

import http.client
import json
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest

from support.running import Bench, on_a_scheduler


class Follower:
    """An open stream of server-sent events."""

    def __init__(self, answer: http.client.HTTPResponse) -> None:
        self.answer = answer
        self.told: list[tuple[str, str, Any]] = []
        """Event, id, data."""

    def next(self) -> tuple[str, str, Any] | None:
        """The next event; None when the stream has ended."""
        fields: dict[str, str] = {}
        while text := self.answer.readline().decode():
            if text == "\n":
                self.told.append((fields["event"], fields["id"], json.loads(fields["data"])))
                return self.told[-1]
            name, _, value = text.rstrip("\n").partition(": ")
            fields[name] = value
        return None

    def until(self, event: str, **members: Any) -> Any:
        """The data of the next event that is such."""
        while (told := self.next()) is not None:
            if told[0] == event and all(told[2].get(k) == v for k, v in members.items()):
                return told[2]
        raise AssertionError(f"the stream ended without {event} {members}: {self.told}")


@contextmanager
def following(
    bench: Bench, query: str = "", headers: Mapping[str, str] | None = None
) -> Iterator[Follower]:
    """Follow; the first event, a heartbeat or a reset, has been read."""
    connection = http.client.HTTPConnection(bench.url.removeprefix("http://"), timeout=20)
    try:
        connection.request("GET", f"/v2/events{query}", headers=dict(headers or {}))
        answer = connection.getresponse()
        assert answer.status == 200, answer.read()
        found = Follower(answer)
        found.next()
        yield found
    finally:
        if connection.sock is not None:
            connection.sock.shutdown(socket.SHUT_RDWR)
        connection.close()


def test_each_kind_of_event_says_what_a_list_would() -> None:
    def work(bench: Bench) -> None:
        with following(bench) as stream:
            assert stream.answer.headers["content-type"] == "text/event-stream"
            event, id_, data = stream.told[0]
            assert (event, data) == ("heartbeat", {"position": id_})
            bench.created()
            created = stream.until("environment")
            shown = bench.get("/v2/environments/demo/logs")
            assert created.pop("state") == "there"
            assert created.pop("at")
            assert created.keys() == shown.keys()
            assert (created["name"], created["cluster"]) == ("logs", "demo")

            id_ = bench.deployed()
            deployment = stream.until("deployment", status="completed")
            shown = bench.get(f"/v2/environments/demo/logs/deployments/{id_}")
            assert deployment.pop("environmentId") == created["id"]
            assert deployment.pop("at")
            assert deployment.keys() == shown.keys()
            assert (deployment["id"], deployment["inForce"]) == (id_, True)

            slots = [data for event, _, data in stream.told if event == "slot"]
            assert {slot["class"] for slot in slots} >= {"missing", "starting", "current"}
            hosts = bench.get("/v2/environments/demo/logs/hosts")["items"]
            last = {slot["arn"]: slot for slot in slots}
            assert sorted(last) == [host["arn"] for host in hosts]
            for host in hosts:
                slot = last[host["arn"]]
                assert slot.keys() - host.keys() == {
                    "state",
                    "at",
                    "environment",
                    "environmentId",
                    "cluster",
                }
                assert (slot["environment"], slot["cluster"]) == ("logs", "demo")
                assert {k: slot[k] for k in ("class", "reason", "sentence", "verdict", "task")} == {
                    k: host[k] for k in ("class", "reason", "sentence", "verdict", "task")
                }
            ids = [int(id_) for _, id_, _ in stream.told]
            assert ids == sorted(ids)
            kinds = [event for event, _, _ in stream.told if event != "heartbeat"]
            assert len(kinds) == len({id_ for e, id_, _ in stream.told if e != "heartbeat"})

    on_a_scheduler(work)


def test_an_environment_is_told_with_its_health_and_its_end() -> None:
    def work(bench: Bench) -> None:
        with following(bench, "?environment=logs") as stream:
            bench.created()
            bench.deployed()
            stream.until("environment", health={"status": "healthy", "problems": []})
            wish = {
                "scope": "environment",
                "cluster": "demo",
                "environment": "logs",
                "seconds": 3600,
                "why": "night",
            }
            answer = bench.ask("POST", "/v2/freezes", wish)
            assert answer.status == 201, answer.text
            frozen = stream.until("environment")
            while frozen["frozen"] is None:
                frozen = stream.until("environment")
            assert frozen["frozen"]["why"] == "night"
            bench.ask("DELETE", "/v2/environments/demo/logs")
            gone = stream.until("environment", state="gone")
            assert (gone["name"], gone["cluster"]) == ("logs", "demo")

    on_a_scheduler(work)


def test_a_host_that_leaves_takes_its_slot_with_it() -> None:
    def work(bench: Bench) -> None:
        bench.created()
        bench.deployed()
        arn = bench.get("/v2/environments/demo/logs/hosts")["items"][0]["arn"]
        with following(bench, "?cluster=demo") as stream:
            bench.world(lambda cloud, now: cloud.terminate_host(arn, now=now))
            gone = stream.until("slot", state="gone")
            assert gone["arn"] == arn
            assert gone["id"] == arn.rsplit("/", 1)[1]
            assert (gone["environment"], gone["cluster"]) == ("logs", "demo")

    on_a_scheduler(work)


def test_a_cluster_that_cannot_be_read_is_told() -> None:
    def work(bench: Bench) -> None:
        bench.created()
        bench.wait("/v2/status", lambda status: status["clusters"][0]["primed"])
        with following(bench, "?cluster=demo") as stream:
            shown = bench.get("/v2/status")["clusters"][0]
            bench.world(lambda cloud, _: cloud.deny("ecs:ListTasks"))
            assert bench.on_loop(lambda: bench.process.view.request_sweep(shown["arn"]))
            told = stream.until("cluster")
            assert told.pop("at")
            assert told.keys() == shown.keys()
            assert (told["name"], told["status"], told["primed"]) == ("demo", "ACTIVE", True)
            assert "ListTasks" in told["readError"]
            assert (told["hosts"], told["environments"]) == (3, 1)

    on_a_scheduler(work)


def test_who_comes_back_goes_on_where_it_was() -> None:
    def work(bench: Bench) -> None:
        with following(bench) as stream:
            bench.created()
            stream.until("environment")
            last = stream.told[-1][1]
        bench.created("mail")
        bench.wait("/v2/environments/demo/mail", lambda _: True)
        with following(bench, headers={"Last-Event-ID": last}) as again:
            assert again.told == [("heartbeat", last, {"position": last})]
            assert again.until("environment")["name"] == "mail"

    on_a_scheduler(work)


@pytest.mark.parametrize("id_", ["1", "99999999999999999", "k3f9p2.7", "9" * 40, "-1"])
def test_who_cannot_go_on_is_told_to_list_again_and_follows_from_now_on(id_: str) -> None:
    def work(bench: Bench) -> None:
        with following(bench, headers={"Last-Event-ID": id_}) as stream:
            event, now, data = stream.told[0]
            assert event == "reset"
            assert data["reason"].endswith("List again.")
            bench.created()
            stream.until("environment", name="logs")
            assert int(stream.told[-1][1]) > int(now)

    on_a_scheduler(work)


def test_filters_take_names() -> None:
    def work(bench: Bench) -> None:
        with (
            following(bench, "?environment=mail") as mail,
            following(bench, "?cluster=other") as other,
        ):
            bench.created("logs")
            bench.created("mail")
            bench.created("logs", cluster="other")
            mail.until("environment")
            other.until("environment")
            assert {d["name"] for e, _, d in mail.told if e == "environment"} == {"mail"}
            assert {d["cluster"] for e, _, d in other.told if e == "environment"} == {"other"}
            assert "cluster" not in {event for event, _, _ in mail.told}

    on_a_scheduler(work, clusters=("demo", "other"), hosts=1)


def test_lines_of_json_for_who_asks_for_them() -> None:
    def work(bench: Bench) -> None:
        headers = {"Accept": "application/x-ndjson"}
        connection = http.client.HTTPConnection(bench.url.removeprefix("http://"), timeout=20)
        connection.request("GET", "/v2/events", headers=headers)
        answer = connection.getresponse()
        assert answer.headers["content-type"] == "application/x-ndjson"
        assert json.loads(answer.readline())["event"] == "heartbeat"
        bench.created()
        told = json.loads(answer.readline())
        while told["event"] != "environment":
            told = json.loads(answer.readline())
        assert told["data"]["name"] == "logs"
        assert int(told["position"]) > 0
        connection.close()
        answer.close()

    on_a_scheduler(work)


def test_heartbeats_come_while_nothing_happens() -> None:
    def work(bench: Bench) -> None:
        with following(bench, "?environment=none") as stream:
            for _ in range(2):
                event, id_, data = stream.next() or ("", "", {})
                assert (event, data) == ("heartbeat", {"position": id_})

    on_a_scheduler(work)


@pytest.mark.parametrize("query", ["?cluster=", "?since=1", "?cluster=a&cluster=b"])
def test_a_query_that_is_not_understood_is_refused(query: str) -> None:
    def work(bench: Bench) -> None:
        answer = bench.ask("GET", f"/v2/events{query}")
        assert answer.status == 400
        assert answer.json["type"] == "urn:blox:problem:invalid-input"

    on_a_scheduler(work, hosts=0)


def test_the_document_describes_the_events() -> None:
    def work(bench: Bench) -> None:
        document = bench.get("/openapi.json")
        answers = document["paths"]["/v2/events"]["get"]["responses"]
        content = answers["200"]["content"]
        assert set(content) == {"text/event-stream", "application/x-ndjson"}
        schema = content["text/event-stream"]["schema"]
        assert set(schema["discriminator"]["mapping"]) == {
            "slot",
            "deployment",
            "environment",
            "cluster",
            "heartbeat",
            "reset",
        }
        slot = document["components"]["schemas"]["SlotEvent"]
        assert set(slot["required"]) >= {"environment", "class", "reason", "sentence", "at"}

    on_a_scheduler(work, hosts=0)
