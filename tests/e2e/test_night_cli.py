"""At three in the morning, as a person types it: freeze, hold, confirm, explain, reach."""

import shlex
from typing import Any

from support.running import Bench
from support.shell import Scene, Shell, on_a_terminal

LOGGED = {
    "name": "shipper",
    "image": "shipper:1",
    "memory": 64,
    "essential": True,
    "logConfiguration": {
        "logDriver": "awslogs",
        "options": {
            "awslogs-group": "/ecs/ship it",
            "awslogs-region": "eu-west-1",
            "awslogs-stream-prefix": "ecs",
        },
    },
}


def refused_calls(bench: Bench) -> int:
    """How many calls that act ECS has received."""
    return bench.world(
        lambda cloud, _: sum(c.operation in ("StartTask", "StopTask") for c in cloud.log)
    )


# --- Freeze ---------------------------------------------------------------------------------------


def test_a_freeze_stands_on_every_screen_and_nothing_moves_until_it_is_thawed(
    scene: Scene,
) -> None:
    def work(blox: Shell, bench: Bench) -> None:
        bench.created()
        bench.deployed()
        line = (
            "FROZEN: demo/logs until «time» («span» left): bad image, INC-812  "
            "blox thaw --environment demo/logs"
        )
        why = ("--why", "bad  image, INC-812")
        assert blox("freeze", "--environment", "logs", "--for", "2h", *why) == [
            line,
            "  nothing is started and nothing is stopped there; daemons that run go on running",
            "  it ends by itself; to end it before: blox thaw --environment demo/logs",
        ]
        before = refused_calls(bench)
        bench.world(lambda cloud, now: cloud.add_host("demo", now=now))
        bench.wait("/v2/environments/demo/logs", lambda e: e["counts"]["missing"] == 1)
        (host,) = [h for h in blox.json("hosts", "logs") if h["class"] == "missing"]
        screens = (
            ("status",),
            ("environments", "list"),
            ("environments", "show", "logs"),
            ("hosts", "logs"),
            ("explain", host["arn"]),
            ("explain", "logs", host["arn"]),
            ("freeze", "--list"),
            ("deploy", "logs", "--task-definition", "agent:1"),
        )
        for words in screens:
            shown = [text.strip() for text in blox(*words)]
            assert any(text.startswith(line) for text in shown), words
        assert "  without a daemon until then: 1 host of demo/logs" in blox("status")
        assert refused_calls(bench) == before
        assert blox("thaw", "--environment", "demo/logs") == [
            "thawed demo/logs; it was frozen for: bad image, INC-812",
            "  what waits goes on now  blox status",
        ]
        bench.wait("/v2/environments/demo/logs", lambda e: e["counts"]["current"] == 4)
        assert blox("freeze", "--list") == ["nothing is frozen"]

    scene(work)


def test_freezes_of_a_cluster_and_of_everything_are_told_apart(scene: Scene) -> None:
    def work(blox: Shell, bench: Bench) -> None:
        bench.created()
        for words in (
            ("freeze",),
            ("freeze", "--everything", "--for", "1h"),
            ("freeze", "--everything", "--why", "x"),
        ):
            assert blox(*words, code=1) == []
            assert blox.errors.startswith("blox: Nothing was frozen."), words
        both = ("--everything", "--cluster", "demo", "--for", "1h", "--why", "x")
        blox("freeze", *both, code=1)
        assert "Say one of" in blox.errors
        blox("freeze", "--cluster", "none", "--for", "1h", "--why", "x", code=1)
        assert "No cluster none is watched" in blox.errors
        blox("freeze", "--cluster", "demo", "--for", "1h", "--why", "one")
        made = blox.json("freeze", "--everything", "--for", "1h", "--why", "all")
        assert [line.split(" until")[0] for line in blox("freeze", "--list")] == [
            "FROZEN: cluster demo",
            "FROZEN: everything",
        ]
        blox("thaw", "--environment", "logs", code=1)
        assert "There is no such freeze. In force:\n  FROZEN: cluster demo" in blox.errors
        blox("thaw", code=1)
        assert "Say which freeze ends" in blox.errors
        assert blox("thaw", "--cluster", "demo") == [
            "thawed cluster demo; it was frozen for: one",
            "  still FROZEN: everything until «time» («span» left): all  blox thaw --everything",
        ]
        assert blox("thaw", made["id"][:10])[0] == "thawed everything; it was frozen for: all"
        blox("thaw", "--all", code=1)
        assert "Nothing is frozen." in blox.errors

    scene(work, hosts=1)


# --- Hold -----------------------------------------------------------------------------------------


def test_a_held_host_is_left_alone_until_it_is_released(scene: Scene) -> None:
    def work(blox: Shell, bench: Bench) -> None:
        bench.created()
        bench.deployed()
        host = blox.json("hosts", "logs")[0]
        line = (
            "HELD: «host» on demo until «time» («span» left): disk swap  blox hosts release «host»"
        )
        assert blox("hosts", "hold", host["instanceId"], "--for", "1h", "--why", "disk swap") == [
            line,
            "  nothing is started and nothing is stopped there; what runs goes on running",
            "  it ends by itself; see what is there: blox explain «host»",
        ]
        assert line in blox("status")
        assert f"  {line}" in blox("explain", host["instanceId"])
        assert "  3 hosts = 2 wanted + 1 held" in blox("hosts", "logs")
        assert "  3 hosts = 2 wanted + 1 held" in blox("hosts", "list", "logs", "--all")
        assert blox("hosts", "held")[1] == "«host»  demo  «time» («span» left)  disk swap"
        task = host["task"]["arn"]
        bench.world(lambda cloud, now: cloud.kill_task(task, now=now))
        bench.wait(
            f"/v2/environments/demo/logs/hosts/{host['id']}",
            lambda h: h["class"] == "held" and h["task"] is None,
        )
        assert blox("hosts", "release", host["arn"]) == [
            "released «host» on demo; it was held for: disk swap",
            "  next: blox explain «host»",
        ]
        bench.wait("/v2/environments/demo/logs", lambda e: e["counts"]["current"] == 3)
        assert blox("hosts", "held") == ["no host is held"]
        blox("hosts", "release", host["arn"], code=1)
        assert "not held" in blox.errors

    scene(work)


def test_an_environment_named_like_a_command_can_be_listed(scene: Scene) -> None:
    def work(blox: Shell, bench: Bench) -> None:
        bench.created("hold")
        for words in (("demo/hold",), ("list", "hold"), ("--all", "demo/hold")):
            assert blox("hosts", *words)[0] == "demo/hold  healthy", words
        blox("hosts", "hold", code=1)
        assert "Missing argument 'HOST'" in blox.errors

    scene(work, hosts=1)


# --- Confirm --------------------------------------------------------------------------------------


def marked(cloud: Any, now: float) -> None:
    """Twelve hosts of the blue stack, and two that are not."""
    for number in range(14):
        attributes = {"stack": "blue"} if number < 12 else {}
        cloud.add_host("demo", now=now, attributes=attributes)


def restack(cloud: Any, values: dict[str, str], now: float) -> None:
    """Give hosts another value of the attribute."""
    for host, value in values.items():
        attribute = {"name": "stack", "value": value, "targetId": host}
        cloud.call("PutAttributes", {"cluster": "demo", "attributes": [attribute]}, now=now)


def test_many_stops_at_once_wait_and_say_which_hosts_and_why(scene: Scene) -> None:
    def work(blox: Shell, bench: Bench) -> None:
        bench.created(selector="attribute:stack == blue")
        bench.deployed()
        blox("confirm", "logs", code=1)
        assert "No stops of logs wait" in blox.errors
        hosts = [h["arn"] for h in blox.json("hosts", "logs", "--class", "current")]
        values = ["bleu"] * 2 + ["green"] * 10
        bench.world(lambda cloud, now: restack(cloud, dict(zip(hosts, values, strict=True)), now))
        bench.wait("/v2/environments/demo/logs", lambda e: e["stopsHeld"] == 12)
        need = blox("status")[2]
        assert need.startswith("  demo/logs  12 hosts: the selector does not match")
        assert "-> blox confirm demo/logs if it is meant" in need
        told = blox("confirm", "logs", code=1)
        assert told == [
            "demo/logs: 12 hosts do not match any more, the first for «span»: "
            "attribute:stack == blue",
            "  10 hosts: stack = green  «host», «host», «host» and 7 more",
            "  2 hosts: stack = bleu  «host», «host»",
            "  0 hosts still match",
            "  if it is not meant: mend the selector or the attribute, and nothing is stopped",
        ]
        assert "Stop 12 daemons of demo/logs" in blox.errors
        assert "say --yes" in blox.errors
        code, lines = on_a_terminal(bench, "confirm", "logs", typed="y\n")
        assert code == 0
        done = "confirmed 12 stops of demo/logs for revision 1, until «time»"
        assert any(done in line for line in lines), lines
        bench.wait("/v2/environments/demo/logs", lambda e: e["counts"]["current"] == 0)

    scene(work, hosts=0, furnish=marked)


# --- Explain --------------------------------------------------------------------------------------


def small_and_large(cloud: Any, now: float) -> None:
    """Four hosts with room; three small ones in one zone, and a fourth elsewhere."""
    for _ in range(4):
        cloud.add_host("demo", now=now, zone="us-east-1a")
    for zone in ("us-east-1f", "us-east-1f", "us-east-1f", "us-east-1a"):
        cloud.add_host("demo", now=now, memory=100, zone=zone)


def test_a_cause_is_told_with_what_the_failing_hosts_share(scene: Scene) -> None:
    def work(blox: Shell, bench: Bench) -> None:
        bench.created()
        blox("deploy", "logs")
        bench.wait(
            "/v2/environments/demo/logs",
            lambda e: (e["counts"]["blocked"], e["counts"]["current"]) == (4, 4),
        )
        told = blox("explain", "logs", "--cause", "no-room")
        assert told[4:] == [
            "",
            "4 hosts: MEMORY: 128 asked, 100 free, for up to «span» -> you: make room or shrink "
            "the task",
            "  3 share: zone us-east-1f (all 3; 0 of 4 others)  «host», «host», «host»",
            "  1 share: nothing that the others have not  «host»",
            "  next: blox explain demo/logs «host»",
        ]
        assert blox("explain", "logs", "--cause", "memory") == told
        assert blox("explain", "logs", "--cause", "blocked") == told
        assert len(blox.json("explain", "logs", "--cause", "no-room")) == 4
        blox("explain", "logs", "--cause", "pull", code=1)
        assert "The reasons now: " in blox.errors
        small = blox.json("explain", "logs", "--cause", "no-room")[0]["instanceId"]
        assert blox("explain", "logs", small)[-1] == (
            "  4 hosts are like this; what they share: blox explain demo/logs --cause no-room"
        )

    scene(work, hosts=0, furnish=small_and_large)


def test_a_host_says_who_holds_what_it_has(scene: Scene) -> None:
    def furnish(cloud: Any, now: float) -> None:
        host = cloud.add_host("demo", now=now)
        cloud.add_definition("node", now=now)
        cloud.add_definition("web", now=now, memory=8000, host_ports=[8080])
        cloud.start_foreign("demo", host, "web", now=now, service="front")

    def work(blox: Shell, bench: Bench) -> None:
        bench.created("logs")
        bench.created("metrics", taskDefinition="node")
        bench.deployed("logs")
        blox("deploy", "metrics")
        bench.wait("/v2/environments/demo/metrics", lambda e: e["counts"]["blocked"] == 1)
        told = blox("explain", blox.json("hosts", "logs")[0]["instanceId"])
        assert (
            "  memory  8192 MiB = 128 demo/logs agent:2 + 8000 service/front web:1 + 64 free"
            in told
        )
        assert "  port 8080/tcp  taken, not known by whom" in told
        rows = [line for line in told if line.startswith("demo/")][:2]
        assert [row.split("  ")[1] for row in rows] == ["current", "blocked"]
        assert rows[1].endswith("MEMORY: 128 asked, 64 free  you: make room or shrink the task")
        tasks = told[told.index("TASK  RUNS  WHOSE  STATUS  FOR") + 1 :][:2]
        assert [task.split("  ")[1:3] for task in tasks] == [
            ["agent:2", "demo/logs"],
            ["web:1", "service/front"],
        ]
        assert sum(line.startswith("demo/") for line in told) == 4

    scene(work, hosts=0, furnish=furnish)


# --- Status ---------------------------------------------------------------------------------------


def test_what_heals_by_itself_is_counted_and_what_does_not_needs_a_person(scene: Scene) -> None:
    def work(blox: Shell, bench: Bench) -> None:
        bench.created()
        bench.deployed()
        bench.world(lambda cloud, now: cloud.stall_pending("agent", now=now))
        bench.world(lambda cloud, now: [cloud.add_host("demo", now=now) for _ in range(2)])
        bench.wait("/v2/environments/demo/logs", lambda e: e["counts"]["starting"] == 2)
        assert blox("status")[1:] == [
            "by itself (2): 2 starting",
            "well: clusters 1 of 1 · environments 1 of 1 · 5 hosts · healthy daemons 3 of 5 "
            "(60.00 %)",
        ]
        host = blox.json("hosts", "logs", "--class", "current")[0]["arn"]
        bench.world(lambda cloud, now: cloud.disconnect_agent(host, now=now))
        bench.wait("/v2/environments/demo/logs", lambda e: e["counts"]["away"] == 1)
        lines = blox("status")
        assert lines[1] == "NEEDS YOU (1)"
        assert lines[2].startswith("  demo  1 host: away, the agent has been gone for longer")
        assert lines[2].endswith("-> look at the host  blox hosts demo/logs --class away --all")
        assert lines[-1].startswith("all else well: clusters 0 of 1 · environments 1 of 1 · ")
        (need,) = blox.json("status")["needsYou"]
        assert (need["where"], need["code"], need["count"]) == ("demo", "away", 1)

    scene(work)


# --- Reach ----------------------------------------------------------------------------------------


def register(bench: Bench) -> None:
    bench.world(
        lambda cloud, now: cloud.call(
            "RegisterTaskDefinition",
            {"family": "shipper", "containerDefinitions": [LOGGED]},
            now=now,
        )
    )


def test_the_log_of_a_daemon_is_a_command_that_a_shell_can_run(scene: Scene) -> None:
    def work(blox: Shell, bench: Bench) -> None:
        register(bench)
        bench.created(taskDefinition="shipper", task={"enableExecuteCommand": True})
        bench.deployed()
        (host,) = blox.json("hosts", "logs")
        name, task = host["instanceId"], host["task"]["arn"].rsplit("/", 1)[-1]
        lines = blox("logs", "logs", name, "--since", "10m", "--follow")
        assert lines[0] == "# demo/logs on «host»: task «id», shipper:1"
        assert lines[1:] == [
            "aws logs tail '/ecs/ship it' --log-stream-names ecs/shipper/«id» --since 10m --follow "
            "--region eu-west-1"
        ]
        (command,) = blox.json("logs", "logs", name)["commands"]
        assert command["command"][:6] == [
            "aws", "logs", "tail", "/ecs/ship it", "--log-stream-names", f"ecs/shipper/{task}",
        ]  # fmt: skip
        blox("logs", "logs", name, "--container", "other", code=1)
        assert "has no container 'other'; it has shipper" in blox.errors
        told = blox.json("exec", "logs", name, "--", "sh", "-c", "echo 'it is' | wc")
        assert told["execEnabled"] is True
        (execute,) = told["commands"]
        words = execute["command"]
        assert words[:3] == ["aws", "ecs", "execute-command"]
        assert words[words.index("--task") + 1] == task
        assert shlex.split(words[words.index("--command") + 1]) == ["sh", "-c", "echo 'it is' | wc"]
        printed = blox("exec", "logs", name)[-1]
        assert printed.endswith("--interactive --command /bin/sh --region us-east-1")
        bench.world(lambda cloud, now: cloud.deny("StartTask"))
        bench.world(lambda cloud, now: cloud.kill_task(host["task"]["arn"], now=now))
        bench.wait("/v2/environments/demo/logs", lambda e: e["counts"]["blocked"] == 1)
        gone = blox("logs", "logs", name)
        assert "tail '/ecs/ship it'" in gone[-1]
        blox("exec", "logs", name, code=1)
        assert "No task of demo/logs runs on i-" in blox.errors

    scene(work, hosts=1)


def test_without_ecs_exec_it_is_a_session_on_the_host(scene: Scene) -> None:
    def furnish(cloud: Any, now: float) -> None:
        cloud.add_host("demo", now=now, external=True)

    def work(blox: Shell, bench: Bench) -> None:
        bench.created()
        bench.deployed()
        (host,) = blox.json("hosts", "logs")
        assert host["instanceId"].startswith("mi-")
        lines = blox("exec", "logs", host["instanceId"])
        assert "# ECS Exec was not enabled when this task was started. For the next: put" in lines
        assert lines[-1].startswith("aws ssm start-session --target mi-")
        label = f"label=com.amazonaws.ecs.task-arn={host['task']['arn']}"
        remarks = blox.json("exec", "logs", host["instanceId"])["remarks"]
        assert any(label in remark for remark in remarks)
        found = blox("logs", "logs", host["instanceId"])
        assert found[-2].startswith("aws ecs describe-task-definition --task-definition arn:")
        assert found[-1].startswith("aws logs tail GROUP --log-stream-names PREFIX/CONTAINER/«id»")
        assert all(line.startswith(("#", "aws ")) for line in found)

    scene(work, hosts=0, furnish=furnish)
