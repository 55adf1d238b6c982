"""The cluster-state-services of one seed: what they are, what happens to them, and their judge."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from random import Random

from blox.settings import Settings, ViewSettings
from blox.simulator.live import LiveCloud
from blox.simulator.oracle_catalogue import Truth, differences, judge_versions, shown
from blox.simulator.state_course import Event, Happening, ServiceCourse
from blox.simulator.state_line import FAIR, Line, Weather
from blox.simulator.state_mirror import Mirror
from blox.simulator.state_process import Replica


class StateServices:
    """One seed's services, with the line of one client to them and that of a plain follower."""

    def __init__(
        self,
        live: LiveCloud,
        *,
        random: Random,
        settings: Settings,
        turmoil: float,
        mirrors: int = 1,
        verbose: bool = False,
    ) -> None:
        """`mirrors`: plain programs that follow each cluster, each by a way of its own."""
        self._live = live
        self._verbose = verbose
        self.course = ServiceCourse(Random(random.getrandbits(64)), turmoil=turmoil)
        self.replicas = tuple(
            Replica(
                live,
                f"css{number}",
                random=Random(random.getrandbits(64)),
                settings=replace(settings, view=_paced(settings.view, service.sweep_interval)),
                queue=service.queue,
                read_rate=service.read_rate,
            )
            for number, service in enumerate(self.course.services)
        )
        self.line = Line(self.replicas, random=Random(random.getrandbits(64)))
        self._lines = (
            self.line,
            *(Line(self.replicas, random=Random(random.getrandbits(64))) for _ in range(mirrors)),
        )
        self._mirrors: list[Mirror] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._before: dict[str, Truth] = {}
        self._given_out: dict[str, int] = {}
        self._set(self.course.weather)

    async def start(self) -> None:
        """Everything runs, and what is to happen will."""
        for replica in self.replicas:
            await replica.start()
        self._tasks.append(asyncio.create_task(self._happen()))
        for name in sorted(self._live.cloud.clusters):
            arn = self._live.cloud.clusters[name].arn
            for line in self._lines[1:]:
                self._mirrors.append(Mirror(line, arn))
                self._tasks.append(asyncio.create_task(self._mirrors[-1].run()))

    async def close(self) -> None:
        """Everything ends."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for replica in self.replicas:
            await replica.end()

    # --- What happens -----------------------------------------------------------------------------

    async def _happen(self) -> None:
        loop = asyncio.get_running_loop()
        for happening in self.course.happenings:
            await asyncio.sleep(max(0.0, happening.at - loop.time()))
            if self._verbose:
                print(happening)  # noqa: T201 (asked for)
            await self.do(happening)

    async def do(self, happening: Happening) -> None:
        """Let it happen."""
        replica = self.replicas[happening.service]
        match happening.event:
            case Event.END:
                self._note_versions()
                await replica.end(
                    gently=bool(happening.number("gently")),
                    copy_lost=bool(happening.number("lost")),
                )
            case Event.START:
                await replica.start()
            case Event.BLIND | Event.SEE:
                replica.transport.partitioned = happening.event is Event.BLIND
            case Event.QUIET | Event.FLOW:
                if replica.feed is not None:
                    replica.feed.silent = happening.event is Event.QUIET
            case Event.HANG | Event.GO_ON:
                replica.trouble.hung = happening.event is Event.HANG
            case Event.DEAF | Event.HEAR:
                replica.trouble.deaf = happening.event is Event.DEAF
            case Event.SWITCH:
                for line in self._lines:
                    line.use(happening.service, cut=bool(happening.number("cut")))
            case Event.WEATHER:
                rates = {name: float(rate) for name, rate in happening.arguments}
                self._set(Weather(**rates))
            case Event.CLOCK:
                replica.clock.step += happening.number("seconds")

    def quiet(self, *, silent: bool) -> None:
        """All queues stop, or go on."""
        for replica in self.replicas:
            if replica.feed is not None:
                replica.feed.silent = silent

    async def mend(self) -> None:
        """Everything that can be mended is."""
        for task in self._tasks[:1]:
            task.cancel()
        self._set(FAIR)
        self.quiet(silent=False)
        for line in self._lines:
            line.partitioned = False
        for replica in self.replicas:
            replica.transport.partitioned = False
            replica.trouble.hung = replica.trouble.deaf = False
            await replica.start()

    def _set(self, weather: Weather) -> None:
        for line in self._lines:
            line.weather = weather

    # --- Judging ----------------------------------------------------------------------------------

    @property
    def failure(self) -> str:
        """Why a service ended by itself; "" if none did."""
        for replica in self.replicas:
            run = replica.run
            error = replica.failure or (None if run is None else run.failure)
            if error is not None:
                return f"{replica.name}: {error!r}"
        return ""

    def look(self) -> None:
        """Take down what is true now: what has changed since will not be judged."""
        self._before = {
            name: Truth.of(self._live.cloud, name) for name in sorted(self._live.cloud.clusters)
        }

    def judge(self) -> Iterator[str]:
        """What is wrong with the services and with those who follow them, a line each. To be asked
        when all is mended and has had time."""
        for name, before in self._before.items():
            arn = self._live.cloud.clusters[name].arn
            now = Truth.of(self._live.cloud, name)
            for replica in self.replicas:
                assert replica.run is not None
                catalogue = replica.run.catalogue
                entity = catalogue.cluster(arn)
                if entity is None:
                    continue
                yield from (
                    f"{replica.name}: {line}"
                    for line in (
                        *differences(before, now, shown(catalogue, arn)),
                        *judge_versions(catalogue, arn, self._given_out.get(catalogue.name, 0)),
                    )
                )
                for mirror in self._mirrors:
                    if mirror.cluster == arn and mirror.follows(catalogue):
                        lines = mirror.differs_from(catalogue)
                        yield from (f"a follower of {replica.name}: {line}" for line in lines)

    def _note_versions(self) -> None:
        for replica in self.replicas:
            if replica.run is not None:
                catalogue = replica.run.catalogue
                told = self._given_out.get(catalogue.name, 0)
                self._given_out[catalogue.name] = max(told, catalogue.last)


def _paced(view: ViewSettings, interval: float) -> ViewSettings:
    return replace(
        view, sweep_interval_with_queue=interval, sweep_interval_without_queue=min(interval, 60.0)
    )
