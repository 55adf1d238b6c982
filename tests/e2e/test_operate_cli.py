"""`blox` against a running scheduler: what a person types, and what they read.

Numbers that differ from run to run are masked: see `support.shell`.
"""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from blox.cli.main import run
from support.running import Bench
from support.shell import Scene, Shell


def mixed(cloud: Any, now: float) -> None:
    """One host of another architecture, and a definition that cannot run there."""
    cloud.add_host("demo", now=now, arch="arm64")
    cloud.add_definition("intel", now=now, architecture="X86_64")


CREATE = ("environments", "create", "logs", "--cluster", "demo", "--min-healthy", "0")


# --- Environments ---------------------------------------------------------------------------------


def test_creating_shows_sums_that_add_up_and_the_next_step(scene: Scene) -> None:
    def work(blox: Shell, _: Bench) -> None:
        assert blox(*CREATE, "--task-definition", "intel") == [
            "created demo/logs (id «id»), revision 1 = intel:1, not deployed",
            "  4 hosts = 3 wanted + 1 ineligible",
            "  3 wanted = 3 missing",
            "  ineligible 1: X86_64 is needed, and the host is arm64  «host»",
            "  next: blox deploy demo/logs --wait",
        ]
        assert blox("environments", "list") == [
            "ENVIRONMENT  HEALTH  CURRENT  REVISION  DEPLOYMENT  HOSTS",
            "demo/logs  healthy  0/3  1 = intel:1  none  4 hosts = 3 wanted + 1 ineligible",
        ]
        assert blox("hosts", "logs") == [
            "demo/logs  healthy",
            "  4 hosts = 3 wanted + 1 ineligible",
            "  3 wanted = 3 missing",
            "HOSTS  CLASS  VERDICT  WHY  NEXT  FOR EXAMPLE",
            "3  missing  ignore  no deployment yet  you: create a deployment  «host», «host» …",
            "1  ineligible  ignore  X86_64 is needed, and the host is arm64  "
            "you: use a definition that can run here, or exclude the host  «host»",
        ]

    scene(work, furnish=mixed)


def test_an_environment_takes_every_option_and_shows_it(scene: Scene, tmp_path: Path) -> None:
    task = tmp_path / "task.json"
    task.write_text('{"enableExecuteCommand": true}')

    def work(blox: Shell, _: Bench) -> None:
        created = blox.json(
            "environments", "create", "demo/logs", "--task-definition", "agent:1",
            "--selector", "attribute:ecs.os-type == linux", "--task", str(task),
            "--max-unavailable", "25%", "--min-healthy", "1.5", "--progress-deadline", "5m",
            "--drain-deadline", "1h", "--beside", "--when-idle", "15m",
        )  # fmt: skip
        assert created["policy"] == {
            "maxUnavailable": "25%",
            "minHealthySeconds": 1.5,
            "progressDeadline": 300.0,
            "drainDeadline": 3600.0,
            "beside": True,
            "whenIdle": 900.0,
        }
        assert blox("environments", "show", "logs")[-4:] == [
            "  not deployed; next: blox deploy demo/logs --wait",
            "  hosts: attribute:ecs.os-type == linux",
            '  task: {"enableExecuteCommand": true}',
            "  policy: at most 25% unavailable · healthy after «span» · progress deadline 300 s · "
            "drain deadline 3600 s · beside others' tasks · leaves idle hosts after «span»",
        ]
        changed = blox("environments", "change", "logs", "--max-unavailable", "2", "--selector", "")
        assert changed[0] == "demo/logs  healthy  revision 2 = agent:1"
        assert "  hosts: all that can run it" in changed
        assert "at most 2 unavailable" in changed[-1]
        stays = blox("environments", "change", "logs", "--when-idle", "never", "--not-beside")
        assert stays[-1].endswith("drain deadline 3600 s")
        blox("environments", "change", "logs", code=1)
        assert "Nothing to change" in blox.errors

    scene(work, hosts=1)


def test_mistakes_are_one_sentence_and_exit_1(scene: Scene) -> None:
    def work(blox: Shell, bench: Bench) -> None:
        bench.created("logs", cluster="demo")
        bench.created("logs", cluster="other")
        cases: list[tuple[list[str], str]] = [
            (["environments", "show", "none"], "There is no environment named none"),
            (
                ["environments", "show", "demo/none"],
                "none on the cluster demo",
            ),
            (["environments", "show", "logs"], "say which, one of demo/logs, other/logs"),
            (["environments", "show", "a/b/c"], "names no environment"),
            (
                ["environments", "create", "x", "--task-definition", "agent"],
                "the cluster once",
            ),
            (
                ["environments", "create", "demo/x", "--cluster", "demo", "--task-definition", "a"],
                "the cluster once",
            ),
            (["environments", "create", "demo/x"], "Missing option '--task-definition'"),
            (["environments", "create", "demo/x", "--task-definition", "no"], "no does not exist"),
            (
                ["environments", "create", "demo/logs", "--task-definition", "agent"],
                "already",
            ),
            (["deploy", "demo/logs", "--timeout", "soon"], "is no duration"),
            (["deploy", "demo/logs", "--task-definition", "agent:9"], "agent:9 does not exist"),
            (["hosts", "demo/logs", "--class", "good"], "'good' is not one of"),
            (["explain"], "Name a host"),
            (["explain", "i-0"], "There is no host i-0"),
            (["explain", "demo/logs", "i-0"], "There is no host i-0 on the cluster demo"),
        ]
        for words, part in cases:
            assert blox(*words, code=1) == []
            assert part in blox.errors, words
            assert "Traceback" not in blox.errors

    scene(work, clusters=("demo", "other"))


def test_deleting_names_what_goes_on_running(scene: Scene) -> None:
    def work(blox: Shell, bench: Bench) -> None:
        bench.created()
        assert blox("orphans") == ["no orphans: no deleted environment has a task running"]
        bench.deployed()
        assert blox("environments", "delete", "logs") == [
            "deleted demo/logs",
            "  2 tasks of it go on running: blox orphans",
        ]
        assert blox("orphans") == [
            "2 tasks of demo/logs, deleted «time» -> you: stop them, or leave them  "
            "blox orphans --all"
        ]
        every = blox("orphans", "--all")
        assert every[0] == "TASK  HOST  STATUS  DEFINITION  ENVIRONMENT  DELETED"
        assert (
            every[1:]
            == [
                "arn:aws:ecs:us-east-1:111122223333:task/demo/«id»  «host»  RUNNING  agent:2  "
                "demo/logs  «time»"
            ]
            * 2
        )
        assert len(blox.json("orphans")) == 2
        assert blox("environments", "list")[0].startswith("no environments. Make one: ")

    scene(work, hosts=2)


# --- Deploying ------------------------------------------------------------------------------------


def test_a_deployment_is_followed_to_its_end(scene: Scene) -> None:
    def work(blox: Shell, _: Bench) -> None:
        blox(*CREATE, "--task-definition", "agent:1")
        lines = blox("deploy", "logs", "--wait")
        assert lines[0] == "deploying demo/logs  revision 1 = agent:1  deployment «uuid»"
        assert lines[-1] == "demo/logs  revision 1  completed in «span»  3 of 3 wanted current"
        assert all(re.match(r"  \w+: 3 wanted = \d ", line) for line in lines[1:-1]), lines
        again = blox("deploy", "logs", "--wait")
        assert again[-1].endswith("3 of 3 wanted current · 3 ran it already")
        update = blox("deploy", "logs", "--task-definition", "agent:2", "--wait")
        assert update[0] == "deploying demo/logs  revision 2 = agent:2  deployment «uuid»"
        assert update[-1] == "demo/logs  revision 2  completed in «span»  3 of 3 wanted current"
        listed = blox("deployments", "logs")
        assert listed[0] == "DEPLOYMENT  STATUS  REVISION  BEGAN  TOOK  CAUSE"
        assert [line.split("  ")[1:3] for line in listed[1:]] == [
            ["completed", "2 = agent:2"],
            ["superseded, had completed", "1 = agent:1"],
            ["superseded, had completed", "1 = agent:1"],
        ]
        assert [d["status"] for d in blox.json("deployments", "logs")] == [
            "completed",
            "superseded",
            "superseded",
        ]

    scene(work)


def test_a_failed_deployment_exits_3_with_its_cause(scene: Scene) -> None:
    def furnish(cloud: Any, now: float) -> None:
        cloud.add_definition("big", now=now, memory=99_999)

    def work(blox: Shell, bench: Bench) -> None:
        blox(*CREATE, "--task-definition", "agent", "--progress-deadline", "20s")
        bench.deployed()
        lines = blox("deploy", "logs", "--task-definition", "big", "--wait", code=3)
        cause = (
            "runs an older revision; the target cannot start here now: no room: MEMORY: "
            "99999 asked, 8192 free"
        )
        assert lines[-3:] == [
            "demo/logs  revision 2  FAILED after «span»  0 of 3 wanted current",
            f"  3 hosts: {cause}  «host», «host», «host»",
            "  next: blox explain demo/logs «host»  or  blox hosts demo/logs",
        ]
        assert blox("status")[1:3] == [
            "NEEDS YOU (1)",
            f"  demo/logs  3 hosts: the deployment of revision 2 failed: {cause}, for «span» -> "
            "mend what the cause names, then deploy again  blox explain demo/logs --cause "
            "deployment-failed",
        ]
        shown = blox("environments", "show", "logs")
        assert shown[0] == "demo/logs  unhealthy  revision 2 = big:1"
        assert shown[3] == (
            f"  3 hosts: the deployment of revision 2 failed: {cause} -> you: mend what the cause "
            "names, then deploy again  blox hosts demo/logs"
        )
        failed = blox.json("deployments", "logs")[0]
        assert failed["causes"][0]["count"] == 3
        back = blox("deploy", "logs", "--task-definition", "agent", "--wait")
        assert back[-1].endswith("3 of 3 wanted current · 3 ran it already")

    scene(work, furnish=furnish)


def test_waiting_ends_at_the_timeout_with_5_and_supersede_takes_its_place(scene: Scene) -> None:
    def work(blox: Shell, bench: Bench) -> None:
        bench.world(lambda cloud, now: cloud.stall_pending("agent", now=now))
        blox(*CREATE, "--task-definition", "agent")
        lines = blox("deploy", "logs", "--wait", "--timeout", "0.5s", code=5)
        assert lines[-3:] == [
            "demo/logs  still running after «span»; it goes on",
            "  2 hosts: the task was started and is PENDING  «host», «host»",
            "  next: blox hosts demo/logs",
        ]
        blox("deploy", "logs", code=1)
        assert "in progress" in blox.errors
        first = blox.json("deployments", "logs")[0]["id"]
        second = blox.json("deploy", "logs", "--supersede")
        assert second["status"] == "pending"
        assert [(d["id"], d["status"]) for d in blox.json("deployments", "logs")][1] == (
            first,
            "superseded",
        )
        timed_out = blox.json("deploy", "logs", "--supersede", "--wait", "--timeout", "0", code=5)
        assert timed_out["status"] in ("pending", "running")

    scene(work, hosts=2)


def test_a_task_file_replaces_the_whole_task_block(scene: Scene, tmp_path: Path) -> None:
    task = tmp_path / "task.json"

    def work(blox: Shell, bench: Bench) -> None:
        tags = [{"key": "team", "value": "sre"}]
        bench.created(task={"tags": tags, "overrides": {"containerOverrides": [], "cpu": "32"}})
        wanted = {"overrides": {"cpu": "64"}, "enableExecuteCommand": True}
        task.write_text(json.dumps(wanted))
        blox("deploy", "logs", "--file", str(task), "--wait")
        assert blox.json("environments", "show", "logs")["revision"]["task"] == wanted
        for bad, part in (("[]", "JSON object"), ("{", "not JSON"), ('{"count": 2}', "count")):
            task.write_text(bad)
            blox("deploy", "logs", "--file", str(task), code=1)
            assert part in blox.errors

    scene(work, hosts=1)


def test_a_scheduler_that_only_observes_is_not_waited_for(scene: Scene) -> None:
    def work(blox: Shell, bench: Bench) -> None:
        blox(*CREATE, "--task-definition", "agent")
        blox("deploy", "logs", "--wait", code=1)
        assert "only observes" in blox.errors
        blox("deploy", "logs")
        bench.wait(
            "/v2/environments/demo/logs/hosts",
            lambda page: all(host.get("would") for host in page["items"]),
        )
        assert "2  missing  would start  none here" in blox("hosts", "logs")[-1]

    scene(work, hosts=2, observe=True)


# --- Looking --------------------------------------------------------------------------------------


def test_hosts_are_grouped_by_cause_and_listed_one_by_one_when_asked(scene: Scene) -> None:
    def furnish(cloud: Any, now: float) -> None:
        mixed(cloud, now)
        for _ in range(4):
            cloud.add_host("demo", now=now, memory=64)

    def work(blox: Shell, bench: Bench) -> None:
        blox(*CREATE, "--task-definition", "intel")
        blox("deploy", "logs")
        path = "/v2/environments/demo/logs"
        bench.wait(path, lambda e: e["counts"]["blocked"] == 4 and e["counts"]["current"] == 3)
        assert blox("hosts", "logs") == [
            "demo/logs  unhealthy",
            "  8 hosts = 7 wanted + 1 ineligible",
            "  7 wanted = 3 current + 4 blocked",
            "  4 hosts: MEMORY: 128 asked, 64 free -> you: make room or shrink the task",
            "HOSTS  CLASS  VERDICT  WHY  NEXT  FOR EXAMPLE",
            "4  blocked  wait  MEMORY: 128 asked, 64 free  you: make room or shrink the task  "
            "«host», «host» …",
            "1  ineligible  ignore  X86_64 is needed, and the host is arm64  "
            "you: use a definition that can run here, or exclude the host  «host»",
            "3  current  keep  one daemon, target revision, healthy  blox: nothing to do  "
            "«host», «host» …",
        ]
        every = blox("hosts", "logs", "--all")
        assert every[4] == "HOST  CLASS  VERDICT  FOR  TASK  WHY  NEXT"
        assert len(every) == 5 + 8
        assert every[-1].startswith("«host»  current  keep  ")
        assert "intel:1 RUNNING" in every[-1]
        blocked = blox("hosts", "logs", "--class", "blocked", "--all")
        assert len(blocked) == 5 + 4
        assert len(blox.json("hosts", "logs", "--class", "blocked")) == 4

    scene(work, furnish=furnish)


def test_a_host_is_explained_with_its_story(scene: Scene) -> None:
    def work(blox: Shell, bench: Bench) -> None:
        bench.created()
        bench.deployed()
        (host,) = blox.json("hosts", "logs")
        everything = blox("explain", host["instanceId"])
        assert everything[:2] == [
            "«host»  on demo  ACTIVE, agent connected  m7i.large  "
            + everything[0].split("m7i.large  ")[1],
            "  arn:aws:ecs:us-east-1:111122223333:container-instance/demo/«id»",
        ]
        assert everything[3:11] == [
            "",
            "ENVIRONMENT  HERE  FOR  VERDICT  WHY  NEXT",
            everything[5],
            "",
            "  cpu  4096 CPU units = 64 demo/logs agent:2 + 4032 free",
            "  memory  8192 MiB = 128 demo/logs agent:2 + 8064 free",
            "",
            "TASK  RUNS  WHOSE  STATUS  FOR",
        ]
        assert everything[5].startswith("demo/logs  current  ")
        assert everything[5].endswith(
            "keep  one daemon, target revision, healthy  blox: nothing to do"
        )
        assert everything[11].startswith("«id»  agent:2  demo/logs  RUNNING  ")
        assert everything[12:16] == [
            "",
            "demo/logs  current for «span»  verdict KEEP: one daemon, target revision, healthy",
            "  next: blox: nothing to do",
            "  task «id»  agent:2  RUNNING",
        ]
        story = everything[16:]
        assert "  «time»  decided  start: none here" in story
        assert "  «time»  called  StartTask agent:2 [1]" in story
        assert "  «time»  answered  task «id»  request «uuid»" in story
        assert story[-1] == "  «time»  decided  keep: one daemon, target revision, healthy"
        for name in (host["id"], host["arn"]):
            one = blox("explain", "demo/logs", name)
            assert one[0].startswith("«host»  demo/logs  current for ")
            assert one[3:] == story
        assert blox.json("explain", host["arn"])["host"]["arn"] == host["arn"]
        assert blox.json("explain", "logs", host["arn"])["class"] == "current"

    scene(work, hosts=1)


def test_status_says_what_needs_a_look_and_counts_the_rest(scene: Scene) -> None:
    def work(blox: Shell, bench: Bench) -> None:
        assert blox("status") == [
            "blox 1.0.0  acting in an account that ECS has not told yet  «url»",
            "no cluster is watched. Make an environment: blox environments create --help",
        ]
        bench.created()
        bench.deployed()
        assert blox("status") == [
            "blox 1.0.0  acting in 111122223333/us-east-1  «url»",
            "all well: clusters 1 of 1 · environments 1 of 1 · 3 hosts · healthy daemons 3 of 3",
        ]
        assert blox("status", "--clusters")[2:] == [
            "",
            "CLUSTER  STATE  HOSTS  ENVIRONMENTS  LAST READ COMPLETELY  PROBLEM",
            "demo  ACTIVE  3  1  «span» ago  -",
        ]
        bench.world(lambda cloud, _: cloud.deny("StartTask"))
        bench.world(lambda cloud, now: cloud.add_host("demo", now=now))
        bench.wait("/v2/environments/demo/logs", lambda e: e["counts"]["blocked"] == 1)
        bench.told.notes = ("no queue is configured",)
        lines = blox("status")
        assert lines[1] == "NEEDS YOU (1)"
        assert lines[2].startswith("  demo/logs  ECS refuses this environment")
        assert "-> mend what the cause names" in lines[2]
        assert lines[2].endswith("  blox hosts demo/logs")
        assert lines[3:] == [
            "note: no queue is configured",
            "all else well: clusters 0 of 1 · environments 0 of 1 · 4 hosts · healthy daemons "
            "3 of 4 (75.00 %)",
        ]
        told = blox.json("status")
        assert len(told["unhealthy"]) == 1
        (need,) = told["needsYou"]
        assert (need["where"], need["code"], need["count"]) == ("demo/logs", "condition", 0)
        assert need["command"] == "blox hosts demo/logs"
        assert need["since"] is not None

    scene(work)


@pytest.mark.parametrize(
    "words",
    [
        ["environments"],
        ["environments", "create"],
        ["environments", "list"],
        ["environments", "show"],
        ["environments", "change"],
        ["environments", "delete"],
        ["adopt"],
        ["deploy"],
        ["deployments"],
        ["hosts"],
        ["hosts", "list"],
        ["hosts", "hold"],
        ["hosts", "release"],
        ["hosts", "held"],
        ["explain"],
        ["logs"],
        ["exec"],
        ["freeze"],
        ["thaw"],
        ["confirm"],
        ["store"],
        ["store", "backup"],
        ["orphans"],
        ["status"],
    ],
)
def test_help_teaches_with_an_example(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*words, "--help"]) == 0
    told = capsys.readouterr().out
    assert "Example:" in told
    assert f"blox {' '.join(words)}" in told.split("Example:")[1]
    assert max(map(len, told.splitlines())) <= 100


def test_the_commands_are_listed_with_what_they_do(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == 0
    told = capsys.readouterr().out
    for name in (
        "status", "environments", "adopt", "deploy", "deployments", "hosts", "explain", "logs",
        "exec", "freeze", "thaw", "confirm", "orphans", "store",
    ):  # fmt: skip
        assert re.search(rf"^  {name}  +\S", told, re.MULTILINE), name
