"""The alerts ask for what a real process exports, and what they look at moves when it should."""

import asyncio
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import promql_parser

from blox.app import compose
from blox.app.gauges import CONDITIONS, Gauges
from blox.http.metrics import Metrics
from blox.scheduler.report import Problem
from support.notices import hook
from support.rules import RULES, SCRAPED, labels_of, load, placeholders, selectors
from support.running import Bench, on_a_scheduler
from support.scheduling import scheduler, simulated_world
from support.stating import state_service

ALL = load(RULES.read_text(encoding="utf-8"))
_SAMPLE = re.compile(r"^(\w+)(?:\{(.*)\})? (\S+)$", re.MULTILINE)
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')

Samples = dict[str, list[tuple[dict[str, str], float]]]


def samples_of(text: str) -> Samples:
    """Metric → its samples: labels and value."""
    found: Samples = {}
    for name, labels, value in _SAMPLE.findall(text):
        found.setdefault(name, []).append((dict(_LABEL.findall(labels)), float(value)))
    return found


def test_every_metric_and_label_that_an_alert_names_is_exported(tmp_path: Path) -> None:
    with (
        simulated_world() as world,
        hook() as receiver,
        scheduler(world, tmp_path, "--notify-url", receiver.url) as blox,
    ):
        blox.wait_ready().create()
        blox.deployed()
        world.control.post("hosts", {"cluster": "demo"})
        blox.process.wait_for(lambda: world.running() == 4, what="four daemons")
        samples = samples_of(blox.ask("GET", "/metrics").text)
        with state_service(world, tmp_path, queue=None) as service:
            service.wait_ready().wait_swept("demo")
            of_state = samples_of(service.ask("GET", "/metrics").text)
    for name, found in of_state.items():
        samples.setdefault(name, []).extend(found)
    known: Mapping[str, frozenset[str]] = SCRAPED | {
        name: frozenset(label for labels, _ in found for label in labels)
        for name, found in samples.items()
    }
    for rule in ALL:
        expr = promql_parser.parse(rule.expr)
        for selector in selectors(expr):
            name = str(selector.name)
            assert name in known, f"{rule.name}: {name} is not exported"
            for matcher in selector.matchers.matchers:
                if name in SCRAPED:
                    continue
                values = {labels[matcher.name] for labels, _ in samples[name]}
                wanted = re.compile(matcher.value)
                assert any(wanted.fullmatch(value) for value in values), f"{rule.name}: {matcher}"
        shown = [
            label
            for text in (rule.annotations["summary"], rule.annotations["description"])
            for label in placeholders(text)
        ]
        assert set(shown) <= labels_of(expr, known), rule.name


class Watch:
    """A scheduler in a simulated world, and its metrics as Prometheus reads them."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._conditions: tuple[Problem, ...] = ()
        self._gauges = bench.on_loop(
            lambda: Gauges(
                Metrics(version="1"),
                bench.process.scheduler,
                bench.process.view,
                conditions=lambda: self._conditions,
            )
        )

    def told(self, *conditions: Problem) -> None:
        self._conditions = conditions

    def scrape(self) -> Samples:
        rendered = asyncio.run_coroutine_threadsafe(self._gauges.render(), self._bench._loop)
        return samples_of(rendered.result(20.0).decode())

    def value(self, name: str, **labels: str) -> float:
        """The one sample with these labels."""
        (value,) = [
            value for found, value in self.scrape()[name] if labels.items() <= found.items()
        ]
        return value

    def wait(self, name: str, holds: Callable[[float], bool], **labels: str) -> float:
        """Its value, once `holds` is true of it."""
        last = [0.0]

        def look(_: Any) -> bool:
            last[0] = self.value(name, **labels)
            return holds(last[0])

        self._bench.wait("/v2/status", look, what=f"{name} {labels}")
        return last[0]


def test_a_host_without_its_daemon_is_counted_for_as_long_as_it_lacks_it() -> None:
    def work(bench: Bench) -> None:
        watch = Watch(bench)
        bench.created()
        bench.deployed()
        assert watch.value("blox_wanted_hosts", environment="logs") == 3
        assert watch.value("blox_unavailable_hosts", environment="logs") == 0
        assert watch.value("blox_longest_gap_seconds", environment="logs") == 0
        bench.world(lambda cloud, now: cloud.add_host("demo", now=now, memory=16))
        watch.wait("blox_longest_gap_seconds", lambda gap: gap > 60.0, environment="logs")
        assert watch.value("blox_wanted_hosts", environment="logs") == 4
        assert watch.value("blox_unavailable_hosts", environment="logs") == 1
        assert watch.value("blox_stops_held", environment="logs") == 0

    on_a_scheduler(work)


def test_stops_that_are_held_are_counted() -> None:
    def furnish(cloud: Any, now: float) -> None:
        for _ in range(12):
            cloud.add_host("demo", now=now, attributes={"ring": "a"})

    def work(bench: Bench) -> None:
        watch = Watch(bench)
        bench.created(selector="attribute:ring == a")
        bench.deployed()

        def strip(cloud: Any, now: float) -> None:
            for arn in list(cloud.hosts):
                change = {"name": "ring", "value": "b", "targetId": arn}
                cloud.call("PutAttributes", {"cluster": "demo", "attributes": [change]}, now=now)

        bench.world(strip)
        assert watch.wait("blox_stops_held", lambda held: held > 0, environment="logs") == 12

    on_a_scheduler(work, hosts=0, furnish=furnish)


def test_what_nobody_judges_is_seen_to_wait() -> None:
    def work(bench: Bench) -> None:
        watch = Watch(bench)
        bench.created()
        bench.deployed()
        assert watch.value("blox_decision_wait_seconds") < 1.0
        (tracked,) = bench.process.scheduler.state.tracked.values()
        # A queue that hands out nothing stands for passes that hang.
        queue = bench.process.scheduler.reconciler._queue
        bench.on_loop(lambda: queue._held.add(tracked.id))
        bench.on_loop(lambda: tracked.touch("a host"))
        watch.wait("blox_decision_wait_seconds", lambda waited: waited > 30.0)
        bench.on_loop(lambda: queue.done(tracked.id))
        watch.wait("blox_decision_wait_seconds", lambda waited: waited < 1.0)

    on_a_scheduler(work)


def test_the_conditions_that_are_shown_are_those_that_a_process_can_have() -> None:
    source = Path(compose.__file__).read_text(encoding="utf-8")
    assert tuple(re.findall(r'_condition\(\s*"([\w-]+)"', source)) == CONDITIONS


def test_a_condition_of_the_process_is_shown_while_it_holds() -> None:
    def work(bench: Bench) -> None:
        watch = Watch(bench)
        shown = {labels["condition"]: value for labels, value in watch.scrape()["blox_condition"]}
        assert shown == dict.fromkeys(CONDITIONS, 0.0)
        watch.told(Problem(code="store", sentence="full", who="you", next_step="free space"))
        assert watch.value("blox_condition", condition="store") == 1
        assert watch.value("blox_condition", condition="queue") == 0
        watch.told()
        assert watch.value("blox_condition", condition="store") == 0

    on_a_scheduler(work)


def test_a_cluster_that_was_never_read_has_a_view_that_ages() -> None:
    def work(bench: Bench) -> None:
        watch = Watch(bench)
        gone = "arn:aws:ecs:us-east-1:111122223333:cluster/gone"
        asyncio.run_coroutine_threadsafe(bench.process.view.follow(gone), bench._loop).result(9)
        watch.wait("blox_view_age_seconds", lambda age: age > 30.0, cluster="gone")

    on_a_scheduler(work)


def test_hosts_that_only_daemons_keep_are_counted_where_the_group_scales_in() -> None:
    def furnish(cloud: Any, now: float) -> None:
        cloud.add_provider("scaling", now=now, cluster="demo")
        cloud.add_provider("fixed", now=now, cluster="demo", managed_scaling=False)
        cloud.add_definition("web", now=now)
        arns = [cloud.add_host("demo", now=now, provider="scaling") for _ in range(3)]
        cloud.add_host("demo", now=now, provider="fixed")
        cloud.start_foreign("demo", arns[0], "web", now=now)

    def work(bench: Bench) -> None:
        watch = Watch(bench)
        bench.created(acceptNoScaleIn=True)
        assert watch.value("blox_hosts_only_daemons", cluster="demo") == 0
        bench.deployed()
        watch.wait("blox_hosts_only_daemons", lambda hosts: hosts == 2, cluster="demo")

    on_a_scheduler(work, hosts=0, furnish=furnish)
