"""Moving in and out, as a person types it: what runs already, adopting, deleting."""

import json
from typing import Any

from support.running import Bench
from support.shell import Scene, Shell, on_a_terminal

CREATE = ("environments", "create", "demo/logs", "--min-healthy", "0", "--task-definition")


def furnished(cloud: Any, now: float) -> None:
    """Five hosts: two where somebody started agent:1, one with agent:2, a service's, an empty one;
    and one of another architecture."""
    hosts = [cloud.add_host("demo", now=now) for _ in range(5)]
    cloud.add_host("demo", now=now, arch="arm64")
    cloud.add_definition("agent", now=now, architecture="X86_64", stop_timeout=1)
    for host in hosts[:2]:
        cloud.start_foreign("demo", host, "agent:1", now=now)
    cloud.start_foreign("demo", hosts[2], "agent:3", now=now)
    cloud.start_foreign("demo", hosts[3], "agent:1", now=now, service="shipper")


def calls(bench: Bench, *operations: str) -> int:
    """How many calls of these operations ECS has accepted."""
    return bench.world(
        lambda cloud, _: sum(c.operation in operations and c.outcome == "done" for c in cloud.log)
    )


def test_creating_where_the_daemon_runs_asks_with_counts_and_ways(scene: Scene) -> None:
    def work(blox: Shell, bench: Bench) -> None:
        asked = blox(*CREATE, "agent:3", code=1)
        assert asked == [
            "4 of 5 wanted hosts run this daemon already:",
            "  3  somebody's task of family:agent",
            "  1  service/shipper",
            "say which is meant:",
            "  --adopt  3 become ours, nothing restarts; 1 of others waits as occupied",
            "  --stop  3 become ours, and the first deployment replaces them; 1 of others waits as "
            "occupied",
            "  --beside  ours starts beside theirs: two on 4 hosts",
            "  --leave  all wait as occupied; only 1 host without one can get ours",
            "or take over from it, host by host: blox migrate service/shipper --to demo/logs",
            "nothing was created",
        ]
        assert blox.errors == ""
        problem = blox.json(*CREATE, "agent:3", code=1)
        assert (problem["question"], problem["occupied"]) == ("existing", 4)
        assert blox.json("environments", "list") == []
        blox(*CREATE, "agent:3", "--adopt", "--stop", code=1)
        assert "--adopt and --stop contradict each other" in blox.errors

    scene(work, hosts=0, furnish=furnished)


def test_created_with_adopt_the_numbers_add_up_to_all_hosts(scene: Scene) -> None:
    def work(blox: Shell, bench: Bench) -> None:
        created = blox(*CREATE, "agent:3", "--adopt")
        assert created[:2] == [
            "created demo/logs (id «id»), revision 1 = agent:3, not deployed",
            "  6 hosts = 5 wanted + 1 ineligible",
        ]
        assert created[3:] == [
            "  adopted 3: started by others, not restarted",
            "  occupied 1: service/shipper runs this daemon here already  «host»",
            "  ineligible 1: X86_64 is needed, and the host is arm64  «host»",
            "  next: blox deploy demo/logs --wait",
        ]
        assert calls(bench, "StartTask", "StopTask") == 0

    scene(work, hosts=0, furnish=furnished)


def test_created_with_stop_the_first_deployment_replaces(scene: Scene) -> None:
    def furnish(cloud: Any, now: float) -> None:
        cloud.start_foreign("demo", cloud.add_host("demo", now=now), "agent:2", now=now)

    def work(blox: Shell, bench: Bench) -> None:
        created = blox(*CREATE, "agent:2", "--stop")
        assert "  adopted 1: the first deployment replaces them, within the budget" in created
        assert calls(bench, "StopTask") == 0
        assert blox("deploy", "logs", "--wait")[-1].endswith("1 of 1 wanted current")
        assert calls(bench, "StopTask") == 1

    scene(work, hosts=0, furnish=furnish)


def test_adopting_is_shown_before_it_is_done_and_restarts_nothing(scene: Scene) -> None:
    def work(blox: Shell, bench: Bench) -> None:
        blox(*CREATE, "agent:3", "--leave")
        refused = (
            "  refused 1: service/shipper would start another in its place: blox migrate "
            "service/shipper  «host»"
        )
        same = "  1 agent:3: what the next deployment runs: they stay as they are  «host»"
        other = (
            "  2 agent:1: another definition: the next deployment replaces them, within the "
            "budget  «host», «host»"
        )
        before = blox("adopt", "logs", "--dry-run")
        assert before[0] == "demo/logs: 4 tasks = 3 to adopt + 1 refused"
        assert sorted(before[1:3]) == sorted([other, same])
        assert before[3] == refused
        assert before[4].startswith("  adopt 3 (")
        assert "2 agent:1, another definition" in before[4]
        assert "1 agent:3, same definition" in before[4]
        assert before[4].endswith("; 0 restarts) · start 0 · stop 0 · ECS calls that act 0")
        assert before[5:] == [
            "  next: the same without --dry-run, then blox deploy demo/logs --wait"
        ]
        assert bench.get("/v2/environments/demo/logs")["adopted"] == 0
        after = blox("adopt", "logs")
        assert after[0] == "demo/logs: 4 tasks = 3 adopted + 1 refused"
        assert after[3:] == [
            refused,
            "  0 restarts: nothing was started or stopped",
            "  next: blox deploy demo/logs --wait",
        ]
        assert blox("adopt", "logs")[0] == (
            "demo/logs: 4 tasks = 0 adopted + 3 its own already + 1 refused"
        )
        assert calls(bench, "StartTask", "StopTask") == 0
        assert "  adopted: 3 live tasks were started by others" in blox(
            "environments", "show", "logs"
        )

    scene(work, hosts=0, furnish=furnished)


def test_tasks_are_chosen_by_id_and_a_refused_one_exits_1(scene: Scene) -> None:
    def work(blox: Shell, bench: Bench) -> None:
        blox(*CREATE, "agent:3", "--leave")
        tasks = bench.world(lambda cloud, _: list(cloud.tasks.values()))
        ours = next(t.arn for t in tasks if t.definition.endswith("agent:3"))
        theirs = next(t.arn for t in tasks if t.group == "service:shipper")
        one = blox("adopt", "logs", ours.rsplit("/", 1)[-1])
        assert one[0] == "demo/logs: 1 task = 1 adopted"
        other = blox("adopt", "logs", theirs, code=1)
        assert other[0] == "demo/logs: 1 task = 0 adopted + 1 refused"
        assert blox("adopt", "logs", "--started-by", "nobody") == [
            "demo/logs: no task is meant; nothing was adopted"
        ]
        blox("adopt", "logs", "0" * 32, code=1)
        assert "Nothing was adopted" in blox.errors
        answer = blox.json("adopt", "logs", "--family", "agent")
        assert (len(answer["adopted"]), answer["already"], len(answer["refused"])) == (2, 1, 1)

    scene(work, hosts=0, furnish=furnished)


def test_what_a_deployment_would_replace_at_once_is_asked_for(scene: Scene) -> None:
    def work(blox: Shell, bench: Bench) -> None:
        blox(*CREATE, "agent:3", "--leave", "--max-unavailable", "100%")
        blox("deploy", "logs")
        bench.wait("/v2/environments/demo/logs", lambda e: e["deployment"]["status"] == "running")
        blox("adopt", "logs", code=1)
        assert "2 adopted tasks would be replaced by agent:3 at once" in blox.errors
        assert "say --yes" in blox.errors
        assert calls(bench, "StopTask") == 0
        adopted = blox("adopt", "logs", "--yes")
        assert adopted[0] == "demo/logs: 5 tasks = 3 adopted + 1 its own already + 1 refused"
        bench.wait("/v2/environments/demo/logs", lambda e: e["counts"]["current"] == 4)
        assert calls(bench, "StopTask") == 2

    scene(work, hosts=0, furnish=furnished)


def test_deploying_may_adopt_first(scene: Scene) -> None:
    def furnish(cloud: Any, now: float) -> None:
        for _ in range(2):
            cloud.start_foreign("demo", cloud.add_host("demo", now=now), "agent:2", now=now)
        cloud.add_host("demo", now=now)

    def work(blox: Shell, bench: Bench) -> None:
        blox(*CREATE, "agent:2", "--leave")
        lines = blox("deploy", "logs", "--adopt", "--wait")
        assert lines[0] == "demo/logs: 2 tasks = 2 adopted"
        assert lines[-1].startswith("demo/logs  revision 1  completed in «span»  3 of 3 wanted")
        assert lines[-1].endswith("· 2 adopted")
        assert (calls(bench, "StartTask"), calls(bench, "StopTask")) == (1, 0)
        again = blox.json("deploy", "logs", "--adopt", "--wait")
        assert (again["status"], again["adoption"]["already"]) == ("completed", 3)

    scene(work, hosts=0, furnish=furnish)


def test_hosts_that_would_never_be_removed_are_asked_about(scene: Scene) -> None:
    def furnish(cloud: Any, now: float) -> None:
        cloud.add_provider("cp-spot", cluster="demo", now=now)
        for _ in range(2):
            cloud.add_host("demo", now=now, provider="cp-spot")

    def work(blox: Shell, bench: Bench) -> None:
        asked = blox(*CREATE, "agent", code=1)
        assert asked[:2] == [
            "ECS removes 2 wanted hosts when idle (managed scaling is on):",
            "  2  capacity provider cp-spot",
        ]
        assert asked[-1] == "nothing was created"
        assert any("--when-idle 15m" in line for line in asked)
        accepted = blox.json(*CREATE, "agent", "--accept-no-scale-in")
        assert accepted["policy"]["whenIdle"] is None
        blox("environments", "delete", "logs")
        assert blox.json(*CREATE, "agent", "--when-idle", "15m")["policy"]["whenIdle"] == 900.0

    scene(work, hosts=1, furnish=furnish)


# --- Out ------------------------------------------------------------------------------------------


def test_deleting_with_the_tasks_asks_shows_progress_and_ends(scene: Scene) -> None:
    def work(blox: Shell, bench: Bench) -> None:
        bench.created()
        bench.deployed()
        blox("environments", "delete", "logs", "--tasks", "stop", code=1)
        assert "Stop the tasks of demo/logs on 3 hosts" in blox.errors
        assert "say --yes. Nothing was changed." in blox.errors
        assert bench.get("/v2/environments/demo/logs")["ending"] is False
        code, lines = on_a_terminal(
            bench, "environments", "delete", "logs", "--tasks", "stop", "--wait", typed="n\n"
        )
        assert code == 130
        assert calls(bench, "StopTask") == 0
        lines = blox("environments", "delete", "logs", "--tasks", "stop", "--wait", "--yes")
        assert lines[0] == "stopping 3 tasks of demo/logs, which is then deleted"
        assert lines[-1].startswith("deleted demo/logs after «span»  3 tasks = ")
        assert calls(bench, "StopTask") == 3
        assert blox("environments", "list")[0].startswith("no environments")

    scene(work)


def test_a_second_call_goes_on_watching_and_keep_ends_it(scene: Scene) -> None:
    def work(blox: Shell, bench: Bench) -> None:
        bench.created()
        bench.deployed()
        blox("freeze", "--environment", "logs", "--for", "30d", "--why", "not yet")
        begun = blox("environments", "delete", "logs", "--tasks", "stop", "--yes")
        assert begun[0] == "stopping 3 tasks of demo/logs, which is then deleted"
        assert begun[1].startswith("  FROZEN: demo/logs until «time»")
        shown = blox("environments", "show", "logs")
        assert (
            "  it is being deleted, 3 tasks left to stop  blox environments delete demo/logs "
            "--wait" in shown
        )
        assert (
            "demo/logs is being deleted: 3 tasks left  blox environments delete demo/logs "
            "--wait" in blox("status")
        )
        again = blox("environments", "delete", "logs", "--wait", "--timeout", "0.2s", code=5)
        assert again[0] == "goes on stopping 3 tasks of demo/logs, which is then deleted"
        assert again[-2] == "demo/logs: still 3 tasks after «span»; it goes on"
        assert blox("environments", "delete", "logs", "--tasks", "keep") == [
            "deleted demo/logs",
            "  no more of its tasks are stopped",
            "  3 tasks of it go on running: blox orphans",
        ]
        assert calls(bench, "StopTask") == 0

    scene(work)


def test_created_again_under_its_name_it_takes_over_what_was_kept(scene: Scene) -> None:
    def work(blox: Shell, bench: Bench) -> None:
        bench.created()
        bench.deployed()
        blox("environments", "delete", "logs")
        assert "note: 3 tasks of deleted ones  blox orphans" in blox("status")
        created = blox(*CREATE, "agent:2")
        assert "  took over 3: tasks that deleted ones of this name left running" in created
        before = calls(bench, "StartTask", "StopTask")
        lines = blox("deploy", "logs", "--wait")
        assert lines[-1].endswith("3 of 3 wanted current · 3 ran it already")
        assert calls(bench, "StartTask", "StopTask") == before
        deleted = blox.json("environments", "delete", "logs", "--tasks", "stop", "--yes", "--wait")
        assert json.dumps(deleted["tasksLeftRunning"]) == "0"

    scene(work)
