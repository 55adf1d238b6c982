"""What happens to a seed's cluster-state-services, and between them and their client: data drawn
from randomness of its own, so that a seed without them is the same with this module and without.
"""

from dataclasses import dataclass, fields
from enum import StrEnum
from random import Random
from typing import Final

from blox.simulator.state_line import Weather
from blox.simulator.workload_steps import Value


class Event(StrEnum):
    """What a happening does. Arguments are named in brackets; `service` is its number."""

    END = "service.end"
    """It ends, by a kill. [gently: by SIGTERM, lost: its stored copy is lost too]"""
    START = "service.start"
    BLIND = "service.blind"
    """Its reads of ECS fail."""
    SEE = "service.see"
    QUIET = "service.quiet"
    """Its queue gives nothing out."""
    FLOW = "service.flow"
    HANG = "service.hang"
    """It answers nobody, and streams tell nothing."""
    GO_ON = "service.go-on"
    DEAF = "service.deaf"
    """Sweeps that are asked for are never done."""
    HEAR = "service.hear"
    SWITCH = "line.switch"
    """The client uses this service from now on. [service, cut: streams of the other end]"""
    WEATHER = "line.weather"
    """[rates by name]"""
    CLOCK = "service.clock"
    """Its wall clock jumps. [seconds]"""


_PAIRS: Final = (
    (Event.END, Event.START, 600.0, 2.0),
    (Event.BLIND, Event.SEE, 1200.0, 1.5),
    (Event.QUIET, Event.FLOW, 1800.0, 1.0),
    (Event.HANG, Event.GO_ON, 300.0, 1.5),
    (Event.DEAF, Event.HEAR, 600.0, 1.0),
)
"""What begins, what ends it, how many seconds it lasts at most, and how often a seed that has it
sees it on average."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Happening:
    """One thing that happens to the services."""

    at: float
    """Seconds since the beginning of the run."""
    event: Event
    service: int = 0
    arguments: tuple[tuple[str, Value], ...] = ()

    def number(self, name: str) -> float:
        """An argument; 0 when it is not given."""
        return float(dict(self.arguments).get(name, 0.0))

    def __str__(self) -> str:
        shown = " ".join(f"{name}={value}" for name, value in self.arguments)
        return f"{self.at:10.3f}  {self.event.value:<18} service={self.service} {shown}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """How one service is for a whole seed."""

    queue: bool
    sweep_interval: float
    """Seconds between its own sweeps."""
    read_rate: float | None
    """Reads a second at most; None: as many as its share allows."""


class ServiceCourse:
    """The services of one seed, and what happens to them until the healing."""

    def __init__(self, randomness: Random, *, turmoil: float) -> None:
        self._random = randomness
        self._turmoil = turmoil
        self.services = tuple(self._service() for _ in range(randomness.choice((1, 1, 2, 2, 2))))
        self.weather = self._weather(randomness.choice((0.0, 0.3, 1.0)))
        """Between the storms."""
        happenings: list[Happening] = []
        two = len(self.services) > 1
        behind = randomness.choice((None, 0, 1)) if two else None
        for number in range(len(self.services)):
            if number == behind:
                happenings += self._falls_behind(number)
            else:
                happenings += self._befalls(number)
        happenings += self._on_the_line(switches=two and behind is None)
        self.happenings = tuple(sorted(happenings, key=lambda one: one.at))

    def _service(self) -> Service:
        draw = self._random
        return Service(
            queue=draw.random() < 0.7,
            sweep_interval=draw.choice((20.0, 60.0, 60.0, 300.0)),
            read_rate=draw.choice((None, None, 2.0, 0.5)),
        )

    def _weather(self, share: float) -> Weather:
        """Each rate is 0, or up to `share` of what is bad for it."""
        bad = {
            "refused": 0.2,
            "slow": 0.3,
            "hangs": 0.1,
            "cuts": 0.9,
            "silent": 0.5,
            "held": 0.2,
            "pieces": 1.0,
            "expires": 0.3,
            "strays": 0.2,
        }
        assert list(bad) == [field.name for field in fields(Weather)]
        rates = {
            name: self._random.uniform(0.0, most) * share
            for name, most in bad.items()
            if self._random.random() < 0.5
        }
        return Weather(**rates)

    def _befalls(self, number: int) -> list[Happening]:
        found = []
        for begin, end, longest, mean in _PAIRS:
            if self._random.random() < 0.5:
                continue
            for at in self._times(mean):
                over = min(at + self._span(0.5, longest), self._turmoil)
                how: tuple[tuple[str, Value], ...] = ()
                if begin is Event.END:
                    kind = self._random.random()
                    how = (("lost", kind < 0.2), ("gently", kind > 0.75))
                found.append(Happening(at=at, event=begin, service=number, arguments=how))
                found.append(Happening(at=over, event=end, service=number))
        if self._random.random() < 0.3:
            for at in self._times(1.0):
                seconds = self._random.uniform(-3600.0, 3600.0)
                found.append(
                    Happening(
                        at=at, event=Event.CLOCK, service=number, arguments=(("seconds", seconds),)
                    )
                )
        return found

    def _on_the_line(self, *, switches: bool) -> list[Happening]:
        found = []
        if switches:
            found += [self._switch(at, self._random.choice((0, 1))) for at in self._times(4.0)]
        if self._random.random() < 0.5:
            for at in self._times(2.0):
                over = min(at + self._span(10.0, 900.0), self._turmoil)
                found.append(_weather_at(at, self._weather(2.0)))
                found.append(_weather_at(over, self.weather))
        return found

    def _falls_behind(self, behind: int) -> list[Happening]:
        """One service learns nothing any more, for minutes or an hour, often from before anything
        has begun, and the client goes to it and back."""
        early = self._random.random() < 0.5
        since = self._span(1.0, 60.0) if early else self._random.uniform(0.0, self._turmoil)
        until = min(since + self._span(60.0, 3600.0), self._turmoil)
        found = [
            Happening(at=since, event=Event.BLIND, service=behind),
            Happening(at=since, event=Event.QUIET, service=behind),
            Happening(at=since, event=Event.SWITCH, service=1 - behind),
            Happening(at=until, event=Event.SEE, service=behind),
            Happening(at=until, event=Event.FLOW, service=behind),
        ]
        at = since + self._span(1.0, 600.0)
        while at < until:
            back = at + self._span(1.0, 300.0)
            found += [self._switch(at, behind), self._switch(back, 1 - behind)]
            at = back + self._span(1.0, 600.0)
        return found

    def _switch(self, at: float, service: int) -> Happening:
        cut = (("cut", self._random.random() < 0.7),)
        return Happening(at=at, event=Event.SWITCH, service=service, arguments=cut)

    def _times(self, mean: float) -> list[float]:
        """Moments of the turmoil, so many on average."""
        found = []
        at = self._random.expovariate(mean / self._turmoil)
        while at < self._turmoil:
            found.append(at)
            at += self._random.expovariate(mean / self._turmoil)
        return found

    def _span(self, low: float, high: float) -> float:
        return float(low * (high / low) ** self._random.random())


def _weather_at(at: float, weather: Weather) -> Happening:
    rates = tuple((field.name, getattr(weather, field.name)) for field in fields(Weather))
    return Happening(at=at, event=Event.WEATHER, arguments=rates)
