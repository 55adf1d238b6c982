"""What others are told of hosts and environments, and when."""

import pytest

from blox.app.notices_bodies import DETAIL_TYPES, parcel, text_of
from blox.scheduler.model import SlotClass, VerdictKind
from blox.scheduler.notices import (
    LONGEST_TEXT,
    REMEMBERED,
    EnvironmentNotice,
    EnvironmentNow,
    Fault,
    Healths,
    HostNotice,
    HostNow,
    Joins,
    Kind,
    SlotNow,
    Standing,
    standing_of,
)
from blox.scheduler.verdicts import verdict_of
from support.notices import CLUSTER, EPOCH, at, host, slot

N = 300.0
HAS, WAITS = slot(Standing.HAS), slot(Standing.WAITS)
NOT_WANTED, UNJUDGED = slot(Standing.NOT_WANTED), slot(Standing.UNJUDGED)


class Scene:
    """A cluster that was read at 0, and what is told of it."""

    def __init__(self, *there: HostNow, first: float = 0.0, before: bool = False) -> None:
        self.joins = Joins(not_ready_after=N)
        self.joins.listed(CLUSTER, there, now=at(first), before=before)
        self.told: list[HostNotice] = []

    def joined(self, name: str, when: float) -> str:
        newcomer = host(name, registered=when)
        self.joins.seen(newcomer, now=at(when))
        return newcomer.arn

    def look(self, arn: str, when: float, *slots: SlotNow) -> Kind | None:
        notice = self.joins.judge(arn, slots, now=at(when))
        if notice is None:
            return None
        self.told.append(notice)
        return notice.kind


# --- A host that joins ----------------------------------------------------------------------------


def test_a_host_is_ready_when_every_environment_that_wants_it_has_its_daemon() -> None:
    scene = Scene()
    arn = scene.joined("a", 10.0)
    metrics = slot(Standing.WAITS, environment="metrics")
    assert scene.look(arn, 12.0, HAS, metrics, NOT_WANTED) is None
    assert scene.look(arn, 21.5, HAS, slot(Standing.HAS, environment="metrics")) is Kind.HOST_READY
    (told,) = scene.told
    assert (told.seconds, told.late, told.at) == (11.5, False, EPOCH + 21.5)
    assert [one.environment for one in told.slots] == ["logs", "metrics"]
    assert scene.look(arn, 22.0, WAITS) is None
    assert scene.look(arn, 900.0, WAITS) is None


def test_a_host_that_is_not_ready_in_time_is_told_once_and_so_is_its_end() -> None:
    scene = Scene()
    arn = scene.joined("a", 10.0)
    assert scene.joins.next_due() == 310.0
    assert scene.look(arn, 309.9, WAITS) is None
    assert scene.look(arn, 310.0, HAS, WAITS, NOT_WANTED) is Kind.HOST_NOT_READY
    assert [one.standing for one in scene.told[0].slots] == [Standing.HAS, Standing.WAITS]
    assert scene.look(arn, 400.0, WAITS) is None
    assert scene.joins.next_due() is None
    assert scene.look(arn, 500.0, HAS) is Kind.HOST_READY
    assert (scene.told[1].late, scene.told[1].seconds) == (True, 490.0)
    assert scene.told[0].id != scene.told[1].id


def test_a_host_that_goes_is_spoken_of_only_if_it_was_told_not_ready() -> None:
    scene = Scene()
    early, late = scene.joined("a", 0.0), scene.joined("b", 0.0)
    assert scene.joins.gone(CLUSTER, early, now=at(5.0)) is None
    assert scene.look(late, 300.0, WAITS) is Kind.HOST_NOT_READY
    gone = scene.joins.seen(host("b", leaving=True), now=at(310.0))
    assert gone is not None
    assert (gone.kind, gone.seconds) == (Kind.HOST_GONE, 310.0)
    assert scene.joins.gone(CLUSTER, late, now=at(320.0)) is None
    assert len(scene.joins) == 0


def test_the_time_counts_from_the_registration_once_that_is_known() -> None:
    scene = Scene()
    scene.joins.seen(host("a", registered=None), now=at(20.0))
    assert scene.joins.next_due() == 320.0
    scene.joins.seen(host("a", registered=5.0), now=at(40.0))
    assert scene.joins.next_due() == 305.0
    scene.joins.seen(host("a", registered=None), now=at(50.0))
    assert scene.look(host("a").arn, 60.0, HAS) is Kind.HOST_READY
    assert scene.told[0].seconds == 55.0


def test_a_host_that_drains_when_it_is_first_seen_is_not_spoken_of() -> None:
    scene = Scene()
    scene.joins.seen(host("a", leaving=True), now=at(1.0))
    assert len(scene.joins) == 0


def test_what_has_not_been_judged_makes_no_host_ready() -> None:
    scene = Scene()
    arn = scene.joined("a", 0.0)
    assert scene.look(arn, 1.0, HAS, UNJUDGED) is None
    assert scene.look(arn, 300.0, HAS, UNJUDGED) is Kind.HOST_NOT_READY


def test_a_host_that_no_environment_wants_is_ready_once_ecs_can_use_it() -> None:
    scene = Scene()
    able = scene.joined("a", 0.0)
    assert scene.look(able, 1.0, NOT_WANTED) is Kind.HOST_READY
    assert scene.told[0].slots == ()
    scene.joins.seen(host("b", able=False), now=at(2.0))
    unable = host("b").arn
    assert scene.look(unable, 3.0, NOT_WANTED) is None
    assert scene.look(unable, 400.0, NOT_WANTED) is None
    assert len(scene.joins) == 0


def test_where_nothing_is_deployed_nothing_is_told() -> None:
    scene = Scene()
    arn = scene.joined("a", 0.0)
    assert scene.look(arn, 1.0) is None
    assert scene.look(arn, 300.0) is None
    assert len(scene.joins) == 0
    assert scene.look(arn, 301.0, HAS) is None


def test_the_last_environment_that_a_host_waited_for_may_be_deleted() -> None:
    scene = Scene()
    arn = scene.joined("a", 0.0)
    assert scene.look(arn, 300.0, WAITS) is Kind.HOST_NOT_READY
    assert scene.look(arn, 310.0) is Kind.HOST_READY


# --- A process that begins ------------------------------------------------------------------------


def test_hosts_that_were_there_before_are_not_spoken_of() -> None:
    old = [host(f"{n}", registered=-REMEMBERED - n) for n in range(50)]
    scene = Scene(*old, host("unknown", registered=None), before=True)
    assert len(scene.joins) == 0
    first_ever = Scene(host("a", registered=-N), host("b", registered=-N + 1))
    assert [one.instance_id for one in first_ever.joins.waiting()] == ["i-b"]


def test_a_host_that_has_just_registered_is_told_with_the_id_that_it_had_before() -> None:
    before, after = Scene(), Scene(host("a", registered=40.0), first=60.0)
    arn = before.joined("a", 40.0)
    assert before.look(arn, 50.0, HAS) is Kind.HOST_READY
    assert after.look(arn, 61.0, HAS) is Kind.HOST_READY
    assert after.told[0].seconds == 21.0
    assert before.told[0].id == after.told[0].id


def test_a_host_that_may_have_been_told_not_ready_is_followed_to_its_end() -> None:
    scene = Scene(host("a", registered=-600.0), host("b", registered=-600.0), before=True)
    assert scene.look(host("a").arn, 1.0, UNJUDGED) is None
    assert scene.look(host("a").arn, 2.0, HAS) is None, "it was ready before"
    assert scene.look(host("b").arn, 2.0, WAITS) is None, "it counts as told"
    assert scene.look(host("b").arn, 60.0, HAS) is Kind.HOST_READY
    assert (scene.told[0].late, scene.told[0].seconds) == (True, 660.0)


def test_a_cluster_that_comes_back_is_read_as_for_the_first_time() -> None:
    scene = Scene()
    arn = scene.joined("a", 0.0)
    assert scene.look(arn, 300.0, WAITS) is Kind.HOST_NOT_READY
    (gone,) = scene.joins.forget(CLUSTER, now=at(400.0))
    assert gone.kind is Kind.HOST_GONE
    assert not scene.joins.knows(CLUSTER)
    scene.joins.listed(CLUSTER, [host("b", registered=-REMEMBERED)], now=at(500.0))
    assert len(scene.joins) == 0


def test_a_host_that_a_later_reading_finds_has_joined_then() -> None:
    scene = Scene(host("old", registered=-REMEMBERED))
    listing = [host("old", registered=-REMEMBERED), host("new", registered=30.0)]
    assert scene.joins.listed(CLUSTER, listing, now=at(60.0)) == ()
    assert [one.instance_id for one in scene.joins.waiting()] == ["i-new"]
    assert scene.joins.listed(CLUSTER, listing[:1], now=at(120.0)) == ()
    assert len(scene.joins) == 0


# --- What a verdict means -------------------------------------------------------------------------


@pytest.mark.parametrize("slot_class", SlotClass)
def test_every_class_of_slot_has_a_standing(slot_class: SlotClass) -> None:
    has = {SlotClass.CURRENT}
    unwanted = {
        SlotClass.UNMATCHED,
        SlotClass.INELIGIBLE,
        SlotClass.LEAVING,
        SlotClass.SUPERSEDED,
        SlotClass.YIELDED,
    }
    verdict = verdict_of(VerdictKind.KEEP, slot_class, "start")
    expected = Standing.WAITS
    if slot_class in has:
        expected = Standing.HAS
    elif slot_class in unwanted:
        expected = Standing.NOT_WANTED
    assert standing_of(verdict) is expected


def test_a_healthy_daemon_of_an_older_revision_makes_a_host_ready() -> None:
    outdated = verdict_of(VerdictKind.KEEP, SlotClass.OUTDATED, "outdated", available=True)
    assert standing_of(outdated) is Standing.HAS


def test_before_the_cluster_was_read_nothing_is_judged() -> None:
    assert standing_of(None) is Standing.UNJUDGED
    unread = verdict_of(VerdictKind.WAIT, SlotClass.MISSING, "unprimed")
    assert standing_of(unread) is Standing.UNJUDGED


# --- Environments ---------------------------------------------------------------------------------

FAULT = Fault(code="no-room", sentence="no room", who="you", next_step="make room", count=3)


class Ward:
    """One environment, looked at again and again."""

    def __init__(self) -> None:
        self.healths = Healths(unhealthy_for=10.0, healthy_for=60.0)
        self.told: list[EnvironmentNotice] = []

    def look(self, when: float, *faults: Fault) -> Kind | None:
        now = EnvironmentNow(id="e", name="logs", cluster_arn=CLUSTER, faults=faults)
        notice = self.healths.seen(now, now=at(when))
        if notice is None:
            return None
        self.told.append(notice)
        return notice.kind


def test_health_is_told_when_it_has_turned_for_good() -> None:
    ward = Ward()
    assert [ward.look(t) for t in (0.0, 100.0)] == [None, None]
    assert [ward.look(t, FAULT) for t in (105.0, 114.9)] == [None, None]
    assert ward.look(115.0, FAULT) is Kind.ENVIRONMENT_UNHEALTHY
    assert ward.look(200.0, FAULT) is None
    assert [ward.look(t) for t in (205.0, 264.9)] == [None, None]
    assert ward.look(265.0) is Kind.ENVIRONMENT_HEALTHY
    assert [one.seconds for one in ward.told] == [10.0, 100.0]
    assert ward.look(900.0) is None


def test_one_that_looks_well_between_two_crashes_is_not_told_healthy() -> None:
    ward = Ward()
    assert ward.look(0.0, FAULT) is None
    assert ward.look(10.0, FAULT) is Kind.ENVIRONMENT_UNHEALTHY
    for crash in range(20, 2000, 50):
        assert ward.look(crash) is None
        assert ward.look(crash + 40.0) is None
        assert ward.look(crash + 45.0, FAULT) is None


def test_a_moment_of_trouble_is_not_told() -> None:
    ward = Ward()
    for when in range(0, 600, 20):
        assert ward.look(when, FAULT) is None
        assert ward.look(when + 9.0) is None


def test_one_that_is_unhealthy_from_the_beginning_is_told() -> None:
    ward = Ward()
    assert ward.look(0.0, FAULT) is None
    assert ward.look(12.0, FAULT) is Kind.ENVIRONMENT_UNHEALTHY


def test_one_that_is_deleted_is_told_only_if_it_was_told_unhealthy() -> None:
    ward = Ward()
    ward.look(0.0, FAULT)
    ward.look(10.0, FAULT)
    healthy = EnvironmentNow(id="h", name="metrics", cluster_arn=CLUSTER)
    ward.healths.seen(healthy, now=at(10.0))
    assert ward.healths.only({"e": None, "h": None}, now=at(20.0)) == ()
    (gone,) = ward.healths.only({}, now=at(30.0))
    assert (gone.kind, gone.environment.name, gone.seconds) == (
        Kind.ENVIRONMENT_GONE,
        "logs",
        30.0,
    )
    assert ward.healths.only({}, now=at(40.0)) == ()


# --- In words -------------------------------------------------------------------------------------


def test_a_sentence_that_ends_with_a_full_stop_gets_no_second_one() -> None:
    ward = Ward()
    fault = Fault(code="queue", sentence="There is no queue.", who="you", next_step="create it")
    ward.look(0.0, fault)
    ward.look(10.0, fault)
    assert text_of(ward.told[0]) == (
        "demo/logs is unhealthy. There is no queue. Next (you): create it."
    )


def told_not_ready(sentence: str) -> HostNotice:
    scene = Scene()
    arn = scene.joined("0c41", 0.0)
    waits = slot(Standing.WAITS, sentence=sentence, who="you", next_step="make room")
    also = slot(Standing.WAITS, environment="metrics", sentence="x", who="ECS", next_step="y")
    assert scene.look(arn, 300.0, HAS, waits, also) is Kind.HOST_NOT_READY
    return scene.told[0]


def test_a_notice_says_in_a_sentence_what_is_the_case_and_who_acts() -> None:
    assert text_of(told_not_ready("no room: 512 MiB asked, 210 free")) == (
        "i-0c41 in demo is not ready, 300 s after it joined. logs: no room: 512 MiB asked, 210 "
        "free; and 1 more. Next (you): make room."
    )
    scene = Scene()
    arn = scene.joined("a", 0.0)
    scene.look(arn, 11.0, HAS, slot(Standing.HAS, environment="metrics"))
    assert text_of(scene.told[0]) == "i-a in demo is ready, 11 s after it joined: logs, metrics."
    ward = Ward()
    ward.look(0.0, FAULT)
    ward.look(10.0, FAULT)
    ward.look(20.0)
    ward.look(90.0)
    assert [text_of(one) for one in ward.told] == [
        "demo/logs is unhealthy. 3 hosts: no room. Next (you): make room.",
        "demo/logs is healthy again, after 20 s.",
    ]


def test_what_ecs_says_at_length_is_cut() -> None:
    notice = told_not_ready("x" * 100_000)
    assert len(parcel(notice).body) < 5_000
    assert "x" * (LONGEST_TEXT - 1) + "…" in parcel(notice).body.decode()


def test_every_kind_has_a_name_on_the_bus() -> None:
    assert set(DETAIL_TYPES) == set(Kind)
    assert len(set(DETAIL_TYPES.values())) == len(Kind)
    assert all(name.startswith("Blox ") and len(name) <= 128 for name in DETAIL_TYPES.values())
