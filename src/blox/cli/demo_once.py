"""`blox demo --once`: disturb the cluster in each way once, judge, and print a receipt as JSON.

S, E, V and the timers are scaled down, so that what takes minutes on a real account takes seconds.
Progress goes to stderr; stdout gets one JSON document and nothing else.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Final

from blox.base.errors import BloxError, InvalidInput
from blox.cli.demo_disturbances import Disturbances
from blox.cli.demo_progress import NotSo, Progress, insist, until
from blox.cli.demo_truth import latency, unsettled
from blox.cli.demo_world import KEY, Plan, World
from blox.cli.output import count, span
from blox.cli.words import UNWANTED, WANTED
from blox.settings import Assumptions
from blox.simulator.oracle import Allowances, ReportedHost, Statistics

_SETTLE: Final = 3.0
"""Seconds without a change before the end is judged."""
_SOON: Final = 1.0
"""Seconds: the median start call must not be later; a busy machine is forgiven that much."""
_NEWS: Final = 10.0
"""Seconds after which the scheduler must know of a change: events flow, on a busy machine too."""

PLAN: Final = Plan(
    hosts=12,
    usual_ports=False,
    assumptions=Assumptions(signature_age=4.0, acceptance_lag=1.0, read_lag=2.0, backdate=1.0),
    allowances=Allowances(news=_NEWS, away_after=3.0, throttles=False),
    variables={
        "BLOX_ECS_SIGNATURE_AGE": "4",
        "BLOX_SIGNATURE_BACKDATE": "1",
        "BLOX_ECS_ACCEPTANCE_LAG": "1",
        "BLOX_ECS_READ_LAG": "2",
        "BLOX_AWAY_AFTER": "3",
    },
    policy={"maxUnavailable": "50%", "minHealthySeconds": 1.0, "drainDeadline": 3.0},
)

_PROMISES: Final = (
    (1, "neverTwo"),
    (2, "neverZeroByMistake"),
    (3, "soon"),
    (4, "atEcsOwnSpeed"),
    (5, "oneBadHostHarmsOnlyItself"),
    (6, "withinBudget"),
    (7, "honest"),
    (8, "durable"),
    (9, "onlyOurs"),
    (10, "closedByDefault"),
)
_TABLE: Final = 0
"""What the judge numbers 0, where a daemon may start and stay, belongs to promise 2."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """One disturbance, and what came of it."""

    name: str
    what: str
    happened: str
    passed: bool
    seconds: float


class Once:
    """The sequence."""

    def __init__(self, world: World, progress: Progress) -> None:
        self._world = world
        self._progress = progress
        self._disturb = Disturbances(world, progress)
        self._done: list[Done] = []
        self._deployed_at = 0.0
        """When the first deployment was done, by ECS's clock."""

    async def run(self) -> dict[str, object]:
        """All of it; the receipt."""
        world, say = self._world, self._progress.say
        say(f"simulated AWS at {world.server.url}, scheduler at {world.api}")
        with self._progress.during("the scheduler starts"):
            await world.start_scheduler()
        await self._one("deploy", self._disturb.first_deployment)
        self._deployed_at = world.now()
        if self._done[0].passed:
            await self._everything()
        say("judging")
        await self._one("end", self._judged)
        return self._receipt(await self._doubts())

    async def _everything(self) -> None:
        disturb = self._disturb
        await asyncio.gather(
            self._one("join", disturb.join),
            self._one("drain", disturb.drain),
            self._one("disconnect", disturb.disconnect),
            self._one("terminate", disturb.terminate),
            self._one("duplicate", disturb.duplicate),
            self._one("crash-loop", disturb.crash_loop),
            self._one("kill", disturb.die),
            self._one("bad request", self._bad_request),
        )
        await self._one("lost answer", disturb.lost_answer)
        await asyncio.gather(
            self._one("kill -9", disturb.kill_scheduler),
            self._one("rolling update", disturb.roll_out),
        )

    async def _one(self, name: str, work: Callable[[], Awaitable[str]]) -> None:
        """Do one thing; what comes of it is told and kept."""
        began = self._world.elapsed()
        what = (work.__doc__ or "").split("\n", 1)[0]
        if name != "end":
            self._progress.say(f"{name}: {what}")
        try:
            happened, passed = await work(), True
        except (NotSo, BloxError) as error:
            happened, passed = str(error), False
        seconds = round(self._world.elapsed() - began, 3)
        self._progress.say(f"{name}: {'ok' if passed else 'FAILED'}: {happened}")
        self._done.append(
            Done(name=name, what=what, happened=happened, passed=passed, seconds=seconds)
        )

    async def _bad_request(self) -> str:
        """A request with a misspelt member is refused and changes nothing."""
        before = await self._world.described()
        body = {"name": "other", "cluster": "demo", "taskDefinition": "web", "policie": {}}
        try:
            await self._world.ask(lambda client: client.post("/v2/environments", body))
        except InvalidInput as error:
            said = error.message
        else:
            raise NotSo("it was accepted")
        after = await self._world.ask(lambda client: client.every("/v2/environments"))
        insist(len(after) == 1 and after[0]["token"] == before["token"], "something was changed")
        return f"refused: {said}"

    # --- The end ----------------------------------------------------------------------------------

    async def _judged(self) -> str:
        """What is left when all is over."""
        world = self._world
        since = world.elapsed()

        def settled() -> bool:
            nonlocal since
            if unsettled(world.cloud, world.definition):
                since = world.elapsed()
            return world.elapsed() - since >= _SETTLE

        with self._progress.during("everything to stay as it should be"):
            try:
                await until(settled, within=30.0, what="every host has what it should have")
            except NotSo as error:
                wrong = unsettled(world.cloud, world.definition)
                raise NotSo(f"{error}: {'; '.join(wrong)}") from None
        said = await world.reported()
        reports = [
            ReportedHost(
                environment=KEY, host=one["arn"], state=one["class"], reason=one["sentence"]
            )
            for one in said
        ]
        found = world.oracle.healed(world.now(), reported=lambda: reports, settle=_SETTLE)
        insist(not found, "; ".join(str(violation) for violation in found))
        await self._add_up()
        return f"{count(len(said), 'host record')}, each as blox says and as it should be"

    async def _add_up(self) -> None:
        shown = await self._world.described()
        counts = shown["counts"]
        wanted = sum(counts[name] for name in WANTED)
        hosts = counts["wanted"] + sum(counts[name] for name in UNWANTED)
        insist(counts["wanted"] == wanted, f"{counts['wanted']} wanted are {wanted}: {counts}")
        insist(counts["hosts"] == hosts, f"{counts['hosts']} hosts are {hosts}: {counts}")
        insist(counts["current"] == wanted, f"not all are current: {counts}")

    async def _doubts(self) -> int | None:
        """Starts in doubt now; None when the scheduler does not say."""
        try:
            status = await self._world.ask(lambda client: client.get("/v2/status"))
        except BloxError:
            return None
        return int(status["startsInDoubt"])

    def _receipt(self, doubts: int | None) -> dict[str, object]:
        world = self._world
        seen = world.oracle.statistics(world.now())
        starts = latency(
            world.cloud,
            since=self._deployed_at,
            apart=self._disturb.apart,
            blind=world.blind,
        )
        promises = self._promises(seen, starts.p50)
        disturbances = [asdict(done) for done in self._done]
        return {
            "passed": all(done.passed for done in self._done)
            and all(promise["held"] for promise in promises.values()),
            "seconds": round(world.elapsed(), 1),
            "receipt": {
                "hosts": sum(not host.inactive for host in world.cloud.hosts.values()),
                "hostsWithTwo": seen.hosts_with_two,
                "worstSecondsWithoutDaemon": round(seen.longest_without_daemon, 3),
                "mostDownForReplacement": seen.most_down_for_replacement,
                "starts": seen.starts,
                "stops": seen.stops,
                "calls": seen.calls,
                "throttled": seen.throttled,
                "answersLost": self._disturb.answers_lost,
                "inDoubt": doubts,
                "startLatency": {
                    "starts": starts.count,
                    "p50Ms": round(starts.p50 * 1000, 1),
                    "p99Ms": round(starts.p99 * 1000, 1),
                },
            },
            "disturbances": disturbances,
            "promises": promises,
            "violations": [str(violation) for violation in world.oracle.violations],
        }

    def _promises(self, seen: Statistics, median: float) -> dict[str, dict[str, object]]:
        violations = self._world.oracle.violations
        proof: dict[int, tuple[bool, str]] = {
            1: (seen.hosts_with_two == 0, f"hosts that ever had two: {seen.hosts_with_two}"),
            2: (True, f"{count(seen.stops, 'stop')}, each asked for"),
            3: (median <= _SOON, f"median from a free place to the start call: {span(median)}"),
            4: (seen.throttled == 0, f"throttled: {seen.throttled}"),
            5: self._by("crash-loop"),
            6: (True, f"down for replacement at once: {seen.most_down_for_replacement} at most"),
            7: self._by("end"),
            8: self._by("kill -9"),
            9: (True, f"{count(seen.stops, 'stop')}, all of our own tasks"),
            10: self._by("bad request"),
        }
        result: dict[str, dict[str, object]] = {}
        for number, name in _PROMISES:
            numbers = (2, _TABLE) if number == 2 else (number,)
            broken = [v.text for v in violations if v.promise in numbers]
            held, sentence = proof[number]
            result[name] = {
                "held": held and not broken,
                "seen": "; ".join([*broken[:5], sentence]),
            }
        return result

    def _by(self, name: str) -> tuple[bool, str]:
        """A promise that one disturbance shows."""
        done: Sequence[Done] = [done for done in self._done if done.name == name]
        if not done:
            return False, "not tried"
        return done[0].passed, done[0].happened


async def once(world: World) -> dict[str, object]:
    """The whole sequence; the receipt. Raises SchedulerDied, Unavailable."""
    progress = Progress(world.elapsed)
    async with progress.speaking():
        return await Once(world, progress).run()
