"""/v1 over a real socket: 0.3's contract, row by row."""

import threading
from typing import Any

import pytest

from support.running import Bench, Response, on_a_scheduler

CLUSTER = "arn:aws:ecs:us-east-1:111122223333:cluster/demo"
AGENT = "arn:aws:ecs:us-east-1:111122223333:task-definition/agent:2"
NOBODY = "00000000-0000-4000-8000-000000000000"


def body(name: str = "logs", cluster: str = "demo", definition: str = "agent") -> dict[str, Any]:
    return {"name": name, "instanceGroup": {"cluster": cluster}, "taskDefinition": definition}


def create(bench: Bench, **changes: str) -> Any:
    answer = bench.ask("POST", "/v1/environments", body(**changes))
    assert answer.status == 200, answer.text
    return answer.json


def deploy(bench: Bench, name: str = "logs") -> Any:
    token = bench.get(f"/v1/environments/{name}")["deploymentToken"]
    answer = bench.ask("POST", f"/v1/environments/{name}/deployments?deploymentToken={token}")
    assert answer.status == 200, answer.text
    return answer.json


def healthy_at_once(bench: Bench, **more: object) -> None:
    """/v1 has no policy: set one that lets deployments end soon."""
    policy = {"policy": {"minHealthySeconds": 0, **more}}
    answer = bench.ask("PATCH", "/v2/environments/demo/logs", policy)
    assert answer.status == 200, answer.text


def refused(answer: Response, status: int) -> str:
    """The sentence of an error, which is text and nothing else."""
    assert (answer.status, answer.headers["content-type"]) == (
        status,
        "text/plain; charset=utf-8",
    ), answer.text
    assert answer.text
    assert answer.text[0] not in "{<["
    return answer.text


# --- ping -----------------------------------------------------------------------------------------


def test_ping_is_200_and_empty_with_a_json_content_type() -> None:
    def work(bench: Bench) -> None:
        for path in ("/v1/ping", "/v1/ping/", "/v1/ping?from=probe"):
            answer = bench.ask("GET", path)
            assert (answer.status, answer.body) == (200, b"")
            assert answer.headers["content-type"] == "application/json; charset=UTF-8"
        bench.told.ready = "The store cannot be read."
        assert refused(bench.ask("GET", "/v1/ping"), 503) == "The store cannot be read."

    on_a_scheduler(work)


# --- POST /v1/environments ------------------------------------------------------------------------


def test_an_environment_is_created_from_names_and_answered_with_arns() -> None:
    def work(bench: Bench) -> None:
        answer = bench.ask("POST", "/v1/environments", body())
        assert answer.status == 200
        assert answer.headers["content-type"] == "application/json; charset=UTF-8"
        token = answer.json["deploymentToken"]
        assert answer.json == {
            "name": "logs",
            "deploymentToken": token,
            "instanceGroup": {"cluster": CLUSTER},
            "taskDefinition": AGENT,
            "health": "healthy",
        }
        assert len(token) == 36
        assert bench.get("/v1/environments/logs") == answer.json
        by_arn = create(bench, name="by-arn", cluster=CLUSTER, definition=AGENT)
        assert by_arn["instanceGroup"] == {"cluster": CLUSTER}
        pinned = create(bench, name="pinned", definition="agent:1")
        assert pinned["taskDefinition"].endswith("agent:1")

    on_a_scheduler(work)


@pytest.mark.parametrize("name", ["a", "A-9_z", "x" * 30])
def test_a_name_has_1_to_30_letters_digits_hyphens_and_underscores(name: str) -> None:
    on_a_scheduler(lambda bench: create(bench, name=name))


def test_a_bad_environment_is_refused_with_a_sentence_and_changes_nothing() -> None:
    without: dict[str, object] = {
        member: {key: value for key, value in body().items() if key != member}
        for member in ("name", "instanceGroup", "taskDefinition")
    }
    cases: list[tuple[object, int, str]] = [
        (None, 400, "body"),
        (b"", 400, "body"),
        (b"{", 400, "JSON"),
        (b"[]", 400, "body"),
        (b"\xff", 400, "JSON"),
        (without["name"], 400, "name"),
        (without["instanceGroup"], 400, "instanceGroup"),
        (without["taskDefinition"], 400, "taskDefinition"),
        ({**body(), "instanceGroup": {}}, 400, "cluster"),
        ({**body(), "name": 7}, 400, "name"),
        (body(name=""), 400, "name"),
        (body(name="x" * 31), 400, "name"),
        (body(name="a b"), 400, "name"),
        (body(name="a.b"), 400, "name"),
        (body(name="logs\n"), 400, "name"),
        (body(name="é"), 400, "name"),
        (body(cluster="no/cluster"), 400, "Invalid cluster ARN or name"),
        (body(cluster=""), 400, "Invalid cluster ARN or name"),
        (body(cluster="nowhere"), 404, "nowhere does not exist"),
        (body(cluster="closed"), 404, "closed is INACTIVE"),
        (body(definition="nothing"), 404, "nothing does not exist"),
        (body(definition="agent:9"), 404, "agent:9 does not exist"),
        (body(definition="retired:1"), 404, "retired:1 is INACTIVE"),
        (body(definition="a b"), 400, "task definition"),
        (body(definition=""), 400, "task definition"),
    ]

    def work(bench: Bench) -> None:
        def close(cloud: Any, now: float) -> None:
            cloud.add_cluster("closed", now=now)
            cloud.delete_cluster("closed", now=now)
            arn = cloud.add_definition("retired", now=now)
            cloud.call("DeregisterTaskDefinition", {"taskDefinition": arn}, now=now, caller="user")

        bench.world(close)
        for sent, status, part in cases:
            assert part in refused(bench.ask("POST", "/v1/environments", sent), status), sent
        assert bench.get("/v1/environments") == {"items": []}

    on_a_scheduler(work)


def test_a_name_that_exists_on_any_cluster_is_refused() -> None:
    def work(bench: Bench) -> None:
        create(bench)
        for cluster in ("demo", "other"):
            text = refused(bench.ask("POST", "/v1/environments", body(cluster=cluster)), 400)
            assert text == "An environment named logs exists already."
        assert bench.ask("DELETE", "/v1/environments/logs").status == 200
        assert create(bench, cluster="other")["instanceGroup"]["cluster"].endswith("other")

    on_a_scheduler(work, clusters=("demo", "other"))


def test_of_simultaneous_creations_of_one_name_one_succeeds() -> None:
    def work(bench: Bench) -> None:
        answers: list[Response] = []

        def ask(cluster: str) -> None:
            answers.append(bench.ask("POST", "/v1/environments", body(cluster=cluster)))

        asking = [threading.Thread(target=ask, args=(c,)) for c in ("demo", "other") * 4]
        for thread in asking:
            thread.start()
        for thread in asking:
            thread.join()
        assert sorted(answer.status for answer in answers) == [200] + [400] * 7
        assert len(bench.get("/v1/environments")["items"]) == 1

    on_a_scheduler(work, clusters=("demo", "other"))


def test_when_ecs_cannot_be_asked_the_sentence_says_why() -> None:
    def work(bench: Bench) -> None:
        for operation in ("DescribeClusters", "DescribeTaskDefinition"):
            bench.world(lambda cloud, _: cloud.deny(operation))  # noqa: B023
            text = refused(bench.ask("POST", "/v1/environments", body()), 503)
            assert f"ecs:{operation}" in text
            bench.world(lambda cloud, _: cloud.deny(operation, on=False))  # noqa: B023
        create(bench)

    on_a_scheduler(work)


# --- GET /v1/environments -------------------------------------------------------------------------


def test_environments_are_filtered_by_cluster_name_or_arn() -> None:
    def work(bench: Bench) -> None:
        create(bench, name="b")
        create(bench, name="a")
        create(bench, name="c", cluster="other")

        def names(query: str = "") -> list[str]:
            return [item["name"] for item in bench.get(f"/v1/environments{query}")["items"]]

        assert names() == names("/") == ["a", "b", "c"]
        assert names("?cluster=demo") == names(f"?cluster={CLUSTER}") == ["a", "b"]
        assert names("?cluster=other") == ["c"]
        assert names("?cluster=empty") == []

    on_a_scheduler(work, clusters=("demo", "other"))


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("?cluster=a%20b", "Invalid cluster ARN or name"),
        ("?cluster=", "Invalid cluster ARN or name"),
        ("?cluster=arn:aws:ecs:us-east-1:1:task/x", "Invalid cluster ARN or name"),
        (
            "?cluster=a&cluster=b",
            "At least one of the filters provided is specified multiple times",
        ),
        ("?colour=red", "At least one of the filters provided is not supported"),
        ("?Cluster=demo", "At least one of the filters provided is not supported"),
    ],
)
def test_filters_are_refused_in_the_exact_words(query: str, text: str) -> None:
    def work(bench: Bench) -> None:
        assert refused(bench.ask("GET", f"/v1/environments{query}"), 400) == text

    on_a_scheduler(work)


def test_lists_come_in_pages() -> None:
    def work(bench: Bench) -> None:
        for number in range(103):
            create(bench, name=f"e{number:03}")
        first = bench.get("/v1/environments?cluster=demo")
        assert len(first["items"]) == 100
        rest = bench.get(f"/v1/environments?cluster=demo&nextToken={first['nextToken']}")
        names = [item["name"] for item in (*first["items"], *rest["items"])]
        assert names == [f"e{number:03}" for number in range(103)]
        assert "nextToken" not in rest
        other = f"/v1/environments?nextToken={first['nextToken']}"
        assert "nextToken" in refused(bench.ask("GET", other), 400)
        assert "nextToken" in refused(bench.ask("GET", "/v1/environments?nextToken=x"), 400)

    on_a_scheduler(work, hosts=0)


# --- One environment ------------------------------------------------------------------------------


def test_an_environment_that_is_not_there_is_404_and_deleting_it_is_200() -> None:
    def work(bench: Bench) -> None:
        for path in ("", "/deployments", f"/deployments/{NOBODY}"):
            text = refused(bench.ask("GET", f"/v1/environments/none{path}"), 404)
            assert text == "There is no environment named none."
        create(bench)
        for _ in range(2):
            answer = bench.ask("DELETE", "/v1/environments/logs/")
            assert (answer.status, answer.body) == (200, b"")
        refused(bench.ask("GET", "/v1/environments/logs"), 404)

    on_a_scheduler(work)


def test_deleting_leaves_the_tasks_running() -> None:
    def work(bench: Bench) -> None:
        create(bench)
        healthy_at_once(bench)
        deploy(bench)
        path = "/v1/environments/logs/deployments"
        bench.wait(path, lambda found: found["items"][0]["status"] == "completed")
        assert bench.ask("DELETE", "/v1/environments/logs").status == 200
        live = bench.world(lambda cloud, _: [len(cloud.live_tasks(host)) for host in cloud.hosts])
        assert live == [1, 1, 1]

    on_a_scheduler(work)


def test_creating_where_others_run_the_daemon_creates_and_their_hosts_are_occupied() -> None:
    def furnish(cloud: Any, now: float) -> None:
        cloud.add_provider("spot", now=now, cluster="demo")
        cloud.add_host("demo", now=now, provider="spot")
        for service in (None, "shipper"):
            host = cloud.add_host("demo", now=now)
            cloud.start_foreign("demo", host, "agent", now=now, service=service)

    def work(bench: Bench) -> None:
        made = create(bench)
        assert set(made) == {
            "name",
            "deploymentToken",
            "instanceGroup",
            "taskDefinition",
            "health",
        }
        healthy_at_once(bench)
        path = f"/v1/environments/logs/deployments/{deploy(bench)['id']}"
        taken = bench.world(
            lambda cloud, _: sorted(t.host for t in cloud.tasks.values() if not t.marker)
        )
        bench.wait("/v2/environments/demo/logs", lambda e: e["counts"]["current"] == 2)
        seen = bench.get(path)
        assert (seen["status"], seen["failedInstances"]) == ("running", taken)
        assert bench.get("/v1/environments/logs")["health"] == "unhealthy"
        live = bench.world(lambda cloud, _: [len(cloud.live_tasks(host)) for host in cloud.hosts])
        assert live == [1] * 4

    on_a_scheduler(work, hosts=1, furnish=furnish)


def test_creating_under_a_deleted_name_takes_over_what_it_left_running() -> None:
    def work(bench: Bench) -> None:
        def live() -> list[str]:
            return bench.world(lambda c, _: sorted(t.arn for t in c.tasks.values() if t.live))

        def deployed() -> list[str]:
            path = f"/v1/environments/logs/deployments/{deploy(bench)['id']}"
            bench.wait(path, lambda found: found["status"] == "completed", within=40.0)
            return live()

        create(bench, definition="agent:1")
        healthy_at_once(bench)
        first = deployed()
        assert bench.ask("DELETE", "/v1/environments/logs").status == 200
        create(bench, definition="agent:1")
        healthy_at_once(bench)
        assert deployed() == first, "equal content restarts nothing"
        assert bench.ask("DELETE", "/v1/environments/logs").status == 200
        create(bench, definition="agent:2")
        healthy_at_once(bench)
        assert live() == first, "nothing happens before the deployment"
        second = deployed()
        assert len(second) == 3
        assert not set(first) & set(second)

    on_a_scheduler(work)


def test_a_name_on_two_clusters_is_a_sentence_on_every_path() -> None:
    def work(bench: Bench) -> None:
        bench.created("logs", cluster="demo")
        bench.created("logs", cluster="other")
        for method, path in (
            ("GET", ""),
            ("DELETE", ""),
            ("GET", "/deployments"),
            ("POST", f"/deployments?deploymentToken={NOBODY}"),
            ("GET", f"/deployments/{NOBODY}"),
        ):
            text = refused(bench.ask(method, f"/v1/environments/logs{path}"), 400)
            assert "logs stands for environments on 2 clusters" in text
        listed = [item["name"] for item in bench.get("/v1/environments")["items"]]
        assert listed == ["logs", "logs"]
        assert bench.ask("DELETE", "/v2/environments/other/logs").status == 200
        assert bench.get("/v1/environments/logs")["instanceGroup"]["cluster"] == CLUSTER

    on_a_scheduler(work, clusters=("demo", "other"))


# --- Deployments ----------------------------------------------------------------------------------


def test_a_deployment_goes_from_pending_to_completed() -> None:
    def work(bench: Bench) -> None:
        create(bench)
        healthy_at_once(bench)
        created = deploy(bench)
        assert created == {
            "id": created["id"],
            "status": "pending",
            "taskDefinition": AGENT,
            "environmentName": "logs",
            "failedInstances": [],
        }
        path = f"/v1/environments/logs/deployments/{created['id']}"
        done = bench.wait(path, lambda found: found["status"] == "completed")
        assert done == {**created, "status": "completed"}
        in_capitals = f"/v1/environments/logs/deployments/{created['id'].upper()}"
        assert bench.get(in_capitals) == done
        started = bench.world(
            lambda cloud, _: [t.started_by for h in cloud.hosts for t in cloud.live_tasks(h)]
        )
        assert started == [created["id"]] * 3

    on_a_scheduler(work)


def test_an_empty_cluster_completes_and_a_host_that_joins_gets_the_task() -> None:
    def work(bench: Bench) -> None:
        create(bench)
        healthy_at_once(bench)
        deploy(bench)
        path = "/v1/environments/logs/deployments"
        bench.wait(path, lambda found: found["items"][0]["status"] == "completed")
        host = bench.world(lambda cloud, now: cloud.add_host("demo", now=now))
        bench.wait("/v2/environments/demo/logs", lambda found: found["counts"]["current"] == 1)
        assert len(bench.world(lambda cloud, _: cloud.live_tasks(host))) == 1

    on_a_scheduler(work, hosts=0)


def test_only_the_present_token_deploys_and_no_error_tells_it() -> None:
    def work(bench: Bench) -> None:
        first = create(bench)["deploymentToken"]
        healthy_at_once(bench)
        second = bench.get("/v1/environments/logs")["deploymentToken"]
        assert second != first
        path = "/v1/environments/logs/deployments"
        texts = [
            refused(bench.ask("POST", path), 400),
            refused(bench.ask("POST", f"{path}?deploymentToken="), 400),
            refused(bench.ask("POST", f"{path}?deploymentToken=abc"), 400),
            refused(bench.ask("POST", f"{path}?deploymentToken={second}0"), 400),
            refused(bench.ask("POST", f"{path}?deploymentToken={first}"), 400),
            refused(bench.ask("POST", f"{path}?deploymentToken={NOBODY}"), 400),
        ]
        assert "missing" in texts[0]
        assert "missing" in texts[1]
        assert "malformed" in texts[2]
        assert "malformed" in texts[3]
        assert "outdated" in texts[4]
        assert bench.get(path) == {"items": []}
        id_ = deploy(bench)["id"]
        texts.append(refused(bench.ask("POST", f"{path}?deploymentToken={second}"), 400))
        assert "used" in texts[-1]
        bench.wait(f"{path}/{id_}", lambda found: found["status"] == "completed")
        texts.append(refused(bench.ask("POST", f"{path}?deploymentToken={second}"), 400))
        third = bench.get("/v1/environments/logs")["deploymentToken"]
        assert not [text for text in texts for token in (second, third) if token in text]
        unknown = f"/v1/environments/none/deployments?deploymentToken={NOBODY}"
        refused(bench.ask("POST", unknown), 404)

    on_a_scheduler(work)


def test_a_token_deploys_once_however_many_use_it_at_once() -> None:
    def work(bench: Bench) -> None:
        token = create(bench)["deploymentToken"]
        path = f"/v1/environments/logs/deployments?deploymentToken={token}"
        answers: list[int] = []
        asking = [
            threading.Thread(target=lambda: answers.append(bench.ask("POST", path).status))
            for _ in range(6)
        ]
        for thread in asking:
            thread.start()
        for thread in asking:
            thread.join()
        assert sorted(answers) == [200] + [400] * 5
        assert len(bench.get("/v1/environments/logs/deployments")["items"]) == 1

    on_a_scheduler(work)


def test_a_second_deployment_waits_for_the_first() -> None:
    def work(bench: Bench) -> None:
        bench.world(lambda cloud, now: cloud.stall_pending("agent", now=now))
        create(bench)
        first = deploy(bench)["id"]
        path = "/v1/environments/logs/deployments"
        bench.wait(f"{path}/{first}", lambda found: found["status"] == "running")
        token = bench.get("/v1/environments/logs")["deploymentToken"]
        text = refused(bench.ask("POST", f"{path}?deploymentToken={token}"), 400)
        assert "in progress" in text
        assert token not in text

    on_a_scheduler(work)


def test_deployments_are_listed_newest_first() -> None:
    def work(bench: Bench) -> None:
        create(bench)
        healthy_at_once(bench)
        path = "/v1/environments/logs/deployments"
        ids: list[str] = []
        for _ in range(3):
            ids.insert(0, deploy(bench)["id"])
            bench.wait(f"{path}/{ids[0]}", lambda found: found["status"] == "completed")
        for query in ("", "/", f"?deploymentToken={NOBODY}", "?deploymentToken=anything"):
            found = bench.get(f"{path}{query}")["items"]
            assert [item["id"] for item in found] == ids
            assert {item["status"] for item in found} == {"completed"}
        assert refused(bench.ask("GET", f"{path}?x=1"), 400) == (
            "At least one of the filters provided is not supported"
        )

    on_a_scheduler(work)


def test_a_deployment_of_another_environment_is_404() -> None:
    def work(bench: Bench) -> None:
        create(bench)
        create(bench, name="other")
        id_ = deploy(bench)["id"]
        for path in (
            f"other/deployments/{id_}",
            f"logs/deployments/{NOBODY}",
            "logs/deployments/x",
        ):
            assert "has no deployment" in refused(bench.ask("GET", f"/v1/environments/{path}"), 404)

    on_a_scheduler(work)


def test_a_failed_deployment_is_running_with_its_hosts_and_a_new_one_is_accepted() -> None:
    def work(bench: Bench) -> None:
        bench.world(lambda cloud, _: cloud.crash_loop("agent", 0.2))
        create(bench)
        healthy_at_once(bench, progressDeadline=30, minHealthySeconds=10)
        first = deploy(bench)["id"]
        failed = f"/v2/environments/demo/logs/deployments/{first}"
        bench.wait(failed, lambda found: found["status"] == "failed")
        seen = bench.get(f"/v1/environments/logs/deployments/{first}")
        hosts = bench.world(lambda cloud, _: sorted(cloud.hosts))
        assert (seen["status"], seen["failedInstances"]) == ("running", hosts)
        assert bench.get("/v1/environments/logs")["health"] == "unhealthy"
        bench.world(lambda cloud, _: cloud.crash_loop("agent", None))
        second = deploy(bench)["id"]
        path = f"/v1/environments/logs/deployments/{second}"
        done = bench.wait(path, lambda found: found["status"] == "completed", within=40.0)
        assert done["failedInstances"] == []
        assert bench.get("/v1/environments/logs")["health"] == "healthy"
        old = bench.get(f"/v1/environments/logs/deployments/{first}")
        assert (old["status"], old["failedInstances"]) == ("running", [])

    on_a_scheduler(work)


def test_denied_starts_make_an_environment_unhealthy_and_end() -> None:
    def work(bench: Bench) -> None:
        bench.world(lambda cloud, _: cloud.deny("StartTask"))
        create(bench)
        healthy_at_once(bench)
        id_ = deploy(bench)["id"]
        bench.wait("/v1/environments/logs", lambda found: found["health"] == "unhealthy")
        path = f"/v1/environments/logs/deployments/{id_}"
        bench.wait(path, lambda found: len(found["failedInstances"]) == 3)
        bench.world(lambda cloud, _: cloud.deny("StartTask", on=False))
        done = bench.wait(path, lambda found: found["status"] == "completed")
        assert done["failedInstances"] == []
        assert bench.get("/v1/environments/logs")["health"] == "healthy"

    on_a_scheduler(work)


# --- Everything else ------------------------------------------------------------------------------


def test_unknown_paths_and_methods_are_sentences_too() -> None:
    def work(bench: Bench) -> None:
        refused(bench.ask("GET", "/v1/nothing"), 404)
        refused(bench.ask("GET", "/v1/environments/a/b"), 404)
        assert "GET" in refused(bench.ask("PUT", "/v1/environments", body()), 405)
        refused(bench.ask("POST", "/v1/environments/logs", body()), 405)

    on_a_scheduler(work)
