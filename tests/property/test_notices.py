"""Whatever happens to hosts and environments, what is told of them makes one story each."""

from hypothesis import given
from hypothesis import strategies as st

from blox.scheduler.notices import (
    REMEMBERED,
    EnvironmentNow,
    Fault,
    Healths,
    HostNotice,
    Joins,
    Kind,
    SlotNow,
    Standing,
)
from support.notices import CLUSTER, at, host, slot

N = 300.0
NAMES = ("a", "b", "c")
ARNS = {host(name).arn: name for name in NAMES}

standings = st.sampled_from(Standing)
slots = st.lists(standings, max_size=3).map(
    lambda found: tuple(slot(one, environment=f"e{n}") for n, one in enumerate(found))
)
ages = st.one_of(st.none(), st.sampled_from([0.0, 10.0, 299.0, 300.0, 3000.0, 7200.0, 9e5]))
steps = st.one_of(
    st.tuples(st.just("pass"), st.sampled_from([0.25, 5.0, 60.0, 299.9, 4000.0])),
    st.tuples(st.just("list"), st.frozensets(st.sampled_from(NAMES))),
    st.tuples(st.just("seen"), st.tuples(st.sampled_from(NAMES), st.booleans(), st.booleans())),
    st.tuples(st.just("gone"), st.sampled_from(NAMES)),
    st.tuples(st.just("judge"), st.tuples(st.sampled_from(NAMES), slots)),
)


class Told:
    """Runs steps, and keeps what was told with what was the case."""

    def __init__(self, registered: dict[str, float | None]) -> None:
        self.joins = Joins(not_ready_after=N)
        self.registered = registered
        self.now = 0.0
        self.stories: dict[str, list[HostNotice]] = {name: [] for name in NAMES}

    def keep(self, *notices: HostNotice | None) -> None:
        for notice in notices:
            if notice is not None:
                self.stories[ARNS[notice.host.arn]].append(notice)

    def step(self, kind: str, given_: object) -> None:
        now = at(self.now)
        if kind == "pass":
            assert isinstance(given_, float)
            self.now += given_
        elif kind == "list":
            assert isinstance(given_, frozenset)
            listed = [host(n, registered=self.registered[n]) for n in sorted(given_)]
            self.keep(*self.joins.listed(CLUSTER, listed, now=now))
        elif kind == "seen":
            assert isinstance(given_, tuple)
            name, able, leaving = given_
            seen = host(name, registered=self.registered[name], able=able, leaving=leaving)
            self.keep(self.joins.seen(seen, now=now))
        elif kind == "gone":
            assert isinstance(given_, str)
            self.keep(self.joins.gone(CLUSTER, host(given_).arn, now=now))
        else:
            assert isinstance(given_, tuple)
            self.judge(*given_)

    def judge(self, name: str, found: tuple[SlotNow, ...]) -> None:
        notice = self.joins.judge(host(name).arn, found, now=at(self.now))
        self.keep(notice)
        if notice is None:
            return
        wanting = [one for one in found if one.standing is not Standing.NOT_WANTED]
        ready = all(one.standing is Standing.HAS for one in wanting)
        assert notice.slots == tuple(wanting)
        assert notice.kind is (Kind.HOST_READY if ready else Kind.HOST_NOT_READY)
        if not ready:
            assert notice.seconds >= N


@given(st.fixed_dictionaries(dict.fromkeys(NAMES, ages)), st.lists(steps, max_size=60))
def test_a_host_is_told_ready_or_not_and_then_its_end(
    age: dict[str, float | None], happened: list[tuple[str, object]]
) -> None:
    """Each name is one registration here only until it goes; its ARN then never comes back at ECS,
    so a story that begins again begins like any other."""
    scene = Told({name: None if years is None else -years for name, years in age.items()})
    scene.joins.listed(CLUSTER, (), now=at(0.0))
    for kind, given_ in happened:
        scene.step(kind, given_)
    ends = {Kind.HOST_READY, Kind.HOST_GONE}
    for told in scene.stories.values():
        warned = False
        for notice in told:
            if notice.kind is Kind.HOST_NOT_READY:
                assert not warned
                warned = True
            else:
                assert notice.kind in ends
                assert notice.late is warned
                assert warned or notice.kind is Kind.HOST_READY
                warned = False
            assert notice.seconds >= 0
            assert notice.at >= at(0.0).ecs
    assert len(scene.joins) <= len(NAMES)


@given(
    st.lists(st.floats(min_value=REMEMBERED, max_value=1e8), min_size=1, max_size=20),
    st.lists(st.tuples(st.floats(min_value=0.1, max_value=1e4), slots), max_size=30),
)
def test_hosts_that_have_been_there_for_long_are_never_spoken_of(
    old: list[float], looks: list[tuple[float, tuple[SlotNow, ...]]]
) -> None:
    joins = Joins(not_ready_after=N)
    hosts = [host(str(n), registered=-age) for n, age in enumerate(old)]
    now = 0.0
    assert joins.listed(CLUSTER, hosts, now=at(now), before=True) == ()
    for passed, found in looks:
        now += passed
        for one in hosts:
            assert joins.seen(one, now=at(now)) is None
            assert joins.judge(one.arn, found, now=at(now)) is None
        assert joins.listed(CLUSTER, hosts, now=at(now)) == ()
    assert joins.next_due() is None


@given(st.lists(st.tuples(st.sampled_from([1.0, 5.0, 15.0, 70.0]), st.booleans()), max_size=80))
def test_health_is_told_in_turns_and_never_before_it_has_lasted(
    looks: list[tuple[float, bool]],
) -> None:
    healths = Healths(unhealthy_for=10.0, healthy_for=60.0)
    fault = Fault(code="c", sentence="s", who="you", next_step="n")
    now, turned, was = 0.0, 0.0, True
    told: list[Kind] = []
    for passed, healthy in looks:
        now += passed
        if healthy is not was:
            was, turned = healthy, now
        faults = () if healthy else (fault,)
        environment = EnvironmentNow(id="e", name="logs", cluster_arn=CLUSTER, faults=faults)
        notice = healths.seen(environment, now=at(now))
        if notice is None:
            continue
        assert now - turned >= (60.0 if healthy else 10.0)
        told.append(notice.kind)
    turns = (Kind.ENVIRONMENT_UNHEALTHY, Kind.ENVIRONMENT_HEALTHY)
    assert told == [turns[n % 2] for n in range(len(told))]
