"""A deployment after any sequence of happenings, and its clock after any sequence of readings."""

from hypothesis import given
from hypothesis import strategies as st

from blox.scheduler.deployments import (
    TRANSITIONS,
    Happening,
    InvalidTransition,
    Progress,
    advance,
    causes_of,
    tick,
    v1_status,
)
from blox.scheduler.model import WANTED, DeploymentStatus, SlotClass
from blox.scheduler.reasons import REASONS
from support.judging import deployment, verdict


@given(st.lists(st.sampled_from(list(Happening)), max_size=8))
def test_whatever_happens_it_only_goes_forward(happenings: list[Happening]) -> None:
    order = list(DeploymentStatus)
    found = deployment(DeploymentStatus.PENDING)
    completed = False
    for at, happening in enumerate(happenings):
        before = found
        try:
            found = advance(found, happening, ecs_now=float(at))
        except InvalidTransition:
            assert found is before
            continue
        assert order.index(found.status) > order.index(before.status)
        completed = completed or found.status is DeploymentStatus.COMPLETED
        assert found.completed_once is completed
        assert (found.finished_at is None) is found.in_progress
        if before.finished_at is not None:
            assert found.finished_at == before.finished_at
    assert v1_status(found) in ("pending", "running", "completed")
    assert (v1_status(found) == "completed") is completed


def test_every_transition_goes_forward() -> None:
    order = list(DeploymentStatus)
    assert all(
        order.index(after) > order.index(before) for (before, _), after in TRANSITIONS.items()
    )


@given(st.lists(st.tuples(st.floats(0.0, 100.0), st.booleans(), st.booleans()), max_size=30))
def test_the_clock_counts_the_time_without_progress_and_without_excuse(
    readings: list[tuple[float, bool, bool]],
) -> None:
    clock, now, moves, expected = Progress(moves=0, at=0.0), 0.0, 0, 0.0
    for passed, moved, excused in readings:
        now += passed
        moves += moved
        if moved:
            expected = 0.0
        elif not excused:
            expected += passed
        clock = tick(clock, moves=moves, excused=excused, now=now)
        assert abs(clock.used - expected) < 1e-6
        assert clock.at == now


@given(
    st.dictionaries(
        st.integers(0, 300).map(lambda n: f"h{n:03}"),
        st.builds(
            verdict,
            st.sampled_from(list(SlotClass)),
            reason=st.sampled_from(sorted(REASONS)),
            details=st.fixed_dictionaries(
                {"cause": st.sampled_from(["a", "b"]), "streak": st.sampled_from(["1", "2"])}
            ),
        ),
        max_size=60,
    )
)
def test_every_wanted_host_that_is_behind_is_in_exactly_one_cause(verdicts) -> None:  # type: ignore[no-untyped-def]
    causes = causes_of(verdicts)
    behind = sorted(
        host
        for host, found in verdicts.items()
        if found.slot_class in WANTED and found.slot_class is not SlotClass.CURRENT
    )
    assert sorted(host for cause in causes for host in cause.hosts) == behind
    assert len({(c.code, c.sentence) for c in causes}) == len(causes)
    assert [c.count for c in causes] == sorted((c.count for c in causes), reverse=True)
    shuffled = dict(reversed(verdicts.items()))
    assert causes_of(shuffled) == causes
