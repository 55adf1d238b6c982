"""The client against a simulated cloud in virtual time: clock, fence and outcomes."""

import asyncio
from collections.abc import Awaitable, Callable

import msgspec
import pytest

from blox.ecs.client import NoticeKind
from blox.ecs.errors import EcsRefused, EcsSilent, Meaning
from blox.ecs.fence import Finding
from blox.ecs.pacing import Category
from blox.ecs.port import InDoubt, Marked, NotDone, Started, Stopping, WireAnswer
from blox.settings import Assumptions
from blox.simulator.faults import Faults
from blox.simulator.model import SignatureCheck, Switches
from support.ecsclients import SimStage, allowed, simulated


async def read(stage: SimStage) -> None:
    """One ordinary read, which tells ECS's time."""
    await stage.client.describe_clusters([stage.cluster])


async def start(stage: SimStage) -> Started | NotDone | InDoubt:
    return await stage.client.start_task(stage.start(stage.hosts[0]), allowed)


def kinds(stage: SimStage) -> list[NoticeKind]:
    return [notice.kind for notice in stage.notices]


# --- Dates ----------------------------------------------------------------------------------------


def test_acts_are_dated_back_and_fresh_and_reads_are_neither() -> None:
    async def scenario(stage: SimStage) -> None:
        await read(stage)
        started = await start(stage)
        assert isinstance(started, Started)
        stopped = await stage.client.stop_task(
            stage.cluster, started.tasks[0].task_arn, reason="surplus", permit=allowed
        )
        assert isinstance(stopped, Stopping)
        await read(stage)
        ages = [round(stage.live.now() - sent.date) for sent in stage.tap.sent]
        assert ages == [pytest.approx(age, abs=2) for age in (0, 240, 240, 0)]
        assert [sent.fresh for sent in stage.tap.sent] == [False, True, True, False]

    simulated(scenario)


def test_nothing_acts_before_ecs_has_told_its_time() -> None:
    async def scenario(stage: SimStage) -> None:
        outcome = await start(stage)
        assert isinstance(outcome, NotDone)
        assert (outcome.meaning, outcome.code) == (Meaning.DID_NOT_HAPPEN, "clock")
        assert stage.tap.sent == []
        await read(stage)
        assert isinstance(await start(stage), Started)

    simulated(scenario)


@pytest.mark.parametrize("hours", [-1, 1])
def test_a_wrong_wall_clock_is_mended_by_the_first_refusal(hours: int) -> None:
    async def scenario(stage: SimStage) -> None:
        await read(stage)
        assert stage.cloud.counts["DescribeClusters"] == 2
        assert stage.client.now() == pytest.approx(stage.live.now(), abs=1.1)
        assert kinds(stage) == [NoticeKind.CLOCK]
        assert ("behind" if hours > 0 else "ahead") in stage.notices[0].sentence
        assert isinstance(await start(stage), Started)

    simulated(scenario, wall_step=3600.0 * hours)


def test_after_the_first_answer_the_wall_clock_changes_nothing() -> None:
    async def scenario(stage: SimStage) -> None:
        await read(stage)
        for step in (3600.0, -3600.0):
            stage.clock.step = step
            assert isinstance(await start(stage), Started)
            await read(stage)
        assert stage.notices == []

    simulated(scenario)


def test_after_a_suspension_the_first_read_tells_the_time_again() -> None:
    async def scenario(stage: SimStage) -> None:
        await read(stage)
        await asyncio.sleep(1000)
        stage.clock.asleep = 1000.0
        late = await start(stage)
        assert isinstance(late, NotDone)
        assert late.code == "InvalidSignatureException"
        assert stage.client.assumptions_in_force.dated_back == 240, "the fence at work"
        assert kinds(stage) == [NoticeKind.CLOCK]
        await asyncio.sleep(2000)
        stage.clock.asleep = 3000.0
        await read(stage)
        assert isinstance(await start(stage), Started)

    simulated(scenario)


def test_a_signature_refused_for_another_reason_is_not_asked_twice() -> None:
    async def scenario(stage: SimStage) -> None:
        await read(stage)
        stage.tap.answers = _error("SignatureDoesNotMatch")
        with pytest.raises(EcsRefused) as caught:
            await read(stage)
        assert caught.value.signature_refused
        assert len(stage.tap.sent) == 2

    simulated(scenario)


def _error(code: str, status: int = 400) -> Callable[[WireAnswer], WireAnswer]:
    def change(answer: WireAnswer) -> WireAnswer:
        body = msgspec.json.encode({"__type": code, "message": "as the test wants it"})
        return msgspec.structs.replace(answer, status=status, body=body)

    return change


# --- The fence ------------------------------------------------------------------------------------

TRIPLED = Switches(signature=SignatureCheck.TRIPLED)
UNCHECKED = Switches(signature=SignatureCheck.OFF)


def test_where_old_signatures_are_refused_the_assumption_stands() -> None:
    async def scenario(stage: SimStage) -> None:
        assert not stage.client.probed
        found = await stage.client.probe(stage.cluster)
        assert found.finding is Finding.STANDS
        assert stage.client.probed
        assert found.assumptions == stage.client.assumptions_in_force == Assumptions()
        assert stage.live.now() - stage.tap.sent[-1].date == pytest.approx(310, abs=2)
        assert stage.notices == []

    simulated(scenario)


def test_where_15_minutes_are_allowed_calls_are_dated_back_further() -> None:
    async def scenario(stage: SimStage) -> None:
        found = await stage.client.probe(stage.cluster)
        assert found.finding is Finding.LONGER
        limits = stage.client.assumptions_in_force
        assert (limits.signature_age, limits.dated_back) == (900, 840)
        assert (limits.request_life, limits.doubt_window) == (60, 420)
        assert stage.live.now() - stage.tap.sent[-1].date == pytest.approx(910, abs=2)
        assert isinstance(await start(stage), Started)
        assert stage.live.now() - stage.tap.sent[-1].date == pytest.approx(840, abs=2)
        assert [notice.kind for notice in stage.client.notices] == [NoticeKind.AGE_LIMIT]

    simulated(scenario, switches=TRIPLED)


def test_where_nothing_is_checked_only_waiting_protects() -> None:
    async def scenario(stage: SimStage) -> None:
        found = await stage.client.probe(stage.cluster)
        assert found.finding is Finding.OFF
        limits = stage.client.assumptions_in_force
        assert (limits.signature_age, limits.dated_back) == (900, 0)
        assert limits.doubt_window == 1260
        assert "the fence is off" in found.sentence
        assert kinds(stage) == [NoticeKind.FENCE_OFF]
        await stage.client.probe(stage.cluster)
        assert kinds(stage) == [NoticeKind.FENCE_OFF], "told once"

    simulated(scenario, switches=UNCHECKED)


SCALED = Assumptions(signature_age=4, acceptance_lag=1, read_lag=2, backdate=1)


@pytest.mark.parametrize(
    ("switches", "finding", "age", "backdate", "window"),
    [
        (Switches(), Finding.STANDS, 4, 1, 6),
        (TRIPLED, Finding.LONGER, 12, 9, 6),
        (UNCHECKED, Finding.OFF, 12, 0, 15),
    ],
)
def test_the_probe_scales_with_s(
    switches: Switches, finding: Finding, age: float, backdate: float, window: float
) -> None:
    async def scenario(stage: SimStage) -> None:
        found = await stage.client.probe(stage.cluster)
        limits = found.assumptions
        assert found.finding is finding
        assert (limits.signature_age, limits.dated_back) == (age, backdate)
        assert limits.doubt_window == window
        assert isinstance(await start(stage), Started)

    simulated(scenario, switches=switches, assumptions=SCALED)


def test_the_probe_needs_no_permission() -> None:
    async def scenario(stage: SimStage) -> None:
        stage.cloud.deny("DescribeClusters")
        assert (await stage.client.probe(stage.cluster)).finding is Finding.STANDS
        stage.cloud.switches = UNCHECKED
        assert (await stage.client.probe(stage.cluster)).finding is Finding.OFF

    simulated(scenario)


@pytest.mark.parametrize(
    "code",
    ["ThrottlingException", "ServerException", "ExpiredTokenException", "SignatureDoesNotMatch"],
)
def test_a_probe_that_learns_nothing_says_so(code: str) -> None:
    async def scenario(stage: SimStage) -> None:
        stage.tap.answers = _error(code, 500 if code == "ServerException" else 400)
        found = await stage.client.probe(stage.cluster)
        assert found.finding is Finding.UNANSWERED
        assert not stage.client.probed
        assert found.assumptions == Assumptions()

    simulated(scenario)


@pytest.mark.parametrize(
    ("code", "status"),
    [("ThrottlingException", 400), ("ServerException", 500), ("ExpiredTokenException", 403)],
)
@pytest.mark.parametrize("reads_that_pass", [1, 2])
def test_an_error_in_the_midst_of_a_probe_decides_nothing(
    code: str, status: int, reads_that_pass: int
) -> None:
    async def scenario(stage: SimStage) -> None:
        def later(answer: WireAnswer) -> WireAnswer:
            passes = len(stage.tap.sent) <= reads_that_pass
            return answer if passes else _error(code, status)(answer)

        stage.tap.answers = later
        assert (await stage.client.probe(stage.cluster)).finding is Finding.UNANSWERED
        assert len(stage.tap.sent) == reads_that_pass + 1

    simulated(scenario, switches=UNCHECKED)


def test_a_probe_without_an_answer_says_so() -> None:
    async def scenario(stage: SimStage) -> None:
        stage.transport.partitioned = True
        assert (await stage.client.probe(stage.cluster)).finding is Finding.UNANSWERED
        stage.transport.partitioned = False
        assert (await stage.client.probe(stage.cluster)).finding is Finding.STANDS

    simulated(scenario)


def test_a_probe_delayed_on_its_way_proves_nothing() -> None:
    """Refused at the age of 20 minutes, it says nothing of 5."""

    async def scenario(stage: SimStage) -> None:
        stage.cloud.switches = TRIPLED
        await read(stage)

        present = len(stage.tap.sent) + 1

        def late(answer: WireAnswer) -> WireAnswer:
            if len(stage.tap.sent) == present:
                return answer
            refused = _error("RequestExpired")(answer)
            twenty_minutes_on = {**answer.headers, "date": "Sun, 15 Jun 2025 15:26:40 GMT"}
            return msgspec.structs.replace(refused, headers=twenty_minutes_on)

        stage.tap.answers = late
        assert (await stage.client.probe(stage.cluster)).finding is Finding.UNANSWERED

    simulated(scenario)


# --- Back-dating that ECS refuses -----------------------------------------------------------------

PICKY = Switches(backdated_refused=True)


def test_where_credentials_refuse_old_dates_calls_carry_the_present() -> None:
    async def scenario(stage: SimStage) -> None:
        await read(stage)
        refused = await start(stage)
        assert isinstance(refused, NotDone)
        assert refused.meaning is Meaning.DID_NOT_HAPPEN
        limits = stage.client.assumptions_in_force
        assert (limits.dated_back, limits.request_life, limits.doubt_window) == (0, 300, 660)
        assert kinds(stage) == [NoticeKind.BACKDATE_OFF]
        assert isinstance(await start(stage), Started)
        assert stage.live.now() - stage.tap.sent[-1].date == pytest.approx(0, abs=2)

    simulated(scenario, switches=PICKY)


def test_a_later_probe_does_not_bring_back_dating_back() -> None:
    async def scenario(stage: SimStage) -> None:
        await read(stage)
        await start(stage)
        await stage.client.probe(stage.cluster)
        assert stage.client.assumptions_in_force.dated_back == 0

    simulated(scenario, switches=PICKY)


def test_where_no_recent_read_vouches_for_the_credentials_one_is_made() -> None:
    async def scenario(stage: SimStage) -> None:
        await read(stage)
        await asyncio.sleep(61)
        assert isinstance(await start(stage), NotDone)
        assert stage.tap.sent[-1].operation == "DescribeClusters"
        assert stage.client.assumptions_in_force.dated_back == 0

    simulated(scenario, switches=PICKY)


def test_only_a_read_that_is_accepted_with_the_same_credentials_vouches_for_them() -> None:
    body = b'{"__type": "UnrecognizedClientException", "message": "invalid"}'

    async def scenario(stage: SimStage) -> None:
        def refused(answer: WireAnswer) -> WireAnswer:
            return msgspec.structs.replace(answer, status=400, body=body)

        await read(stage)
        stage.tap.signer = "AKIASECOND"
        stage.tap.answers = refused
        assert isinstance(await start(stage), NotDone)
        assert stage.tap.sent[-1].operation == "DescribeClusters"
        assert stage.client.assumptions_in_force.dated_back == 240
        stage.tap.answers = lambda answer: answer
        assert isinstance(await start(stage), NotDone)
        assert stage.client.assumptions_in_force.dated_back == 0

    simulated(scenario, switches=PICKY)


def test_other_refusals_do_not_touch_back_dating() -> None:
    async def scenario(stage: SimStage) -> None:
        await read(stage)
        stage.cloud.deny("StartTask")
        outcome = await start(stage)
        assert isinstance(outcome, NotDone)
        assert outcome.meaning is Meaning.ENVIRONMENT
        assert stage.client.assumptions_in_force == Assumptions()

    simulated(scenario)


# --- Outcomes -------------------------------------------------------------------------------------


def test_an_act_that_gets_no_answer_is_in_doubt_and_was_sent_once() -> None:
    async def scenario(stage: SimStage) -> None:
        await read(stage)
        stage.cloud.faults = Faults(drop_answer=1.0)
        begin = stage.clock.monotonic()
        outcome = await start(stage)
        assert isinstance(outcome, InDoubt)
        assert outcome.signed_at == pytest.approx(begin, abs=0.1)
        assert stage.clock.monotonic() <= begin + 60.1
        assert stage.cloud.counts["StartTask"] == 1
        assert len(stage.cloud.tasks) == 1

    simulated(scenario)


def test_a_silent_connection_is_given_up_after_the_timeout() -> None:
    async def scenario(stage: SimStage) -> None:
        await read(stage)
        stage.cloud.faults = Faults(late_answer=1.0)
        begin = stage.clock.monotonic()
        outcomes = [await start(stage) for _ in range(8)]
        doubts = [outcome for outcome in outcomes if isinstance(outcome, InDoubt)]
        assert doubts
        assert all("no answer within 60 s" in doubt.cause for doubt in doubts)
        assert stage.clock.monotonic() - begin <= 8 * 60.1
        assert stage.cloud.counts["StartTask"] == 8

    simulated(scenario)


def test_an_unreachable_ecs_did_nothing() -> None:
    async def scenario(stage: SimStage) -> None:
        await read(stage)
        stage.cloud.faults = Faults(unreachable=1.0)
        outcome = await start(stage)
        assert isinstance(outcome, NotDone)
        assert (outcome.meaning, outcome.code) == (Meaning.DID_NOT_HAPPEN, "connect")
        with pytest.raises(EcsSilent):
            await read(stage)
        assert "StartTask" not in stage.cloud.counts

    simulated(scenario)


@pytest.mark.parametrize(
    "faults",
    [Faults(garble=1.0), Faults(error_after=1.0), Faults(error_before=1.0)],
    ids=["garbled", "error after", "error before"],
)
def test_what_cannot_be_understood_is_in_doubt(faults: Faults) -> None:
    async def scenario(stage: SimStage) -> None:
        await read(stage)
        stage.cloud.faults = faults
        for _ in range(5):
            assert isinstance(await start(stage), InDoubt)
        stage.cloud.faults = Faults.none()

    simulated(scenario)


def test_reads_without_ecss_request_id_are_not_believed() -> None:
    async def scenario(stage: SimStage) -> None:
        def anonymous(answer: WireAnswer) -> WireAnswer:
            headers = {k: v for k, v in answer.headers.items() if k != "x-amzn-requestid"}
            return msgspec.structs.replace(answer, headers=headers)

        stage.tap.answers = anonymous
        with pytest.raises(EcsSilent, match="request id"):
            await read(stage)
        outcome = await start(stage)
        assert isinstance(outcome, NotDone)
        assert outcome.code == "clock", "a stranger's Date counts for nothing"

    simulated(scenario)


def test_throttles_of_reads_and_acts_are_reported() -> None:
    async def scenario(stage: SimStage) -> None:
        pacer = stage.client._pacer
        await read(stage)
        stage.cloud.faults = Faults(throttle=1.0)
        outcome = await start(stage)
        assert isinstance(outcome, NotDone)
        assert outcome.throttled
        assert outcome.meaning is Meaning.DID_NOT_HAPPEN
        assert pacer.throttled_recently(Category.RESOURCE_MODIFY)
        assert not pacer.throttled_recently(Category.CLUSTER_READ)
        with pytest.raises(EcsRefused) as caught:
            await read(stage)
        assert caught.value.throttled
        assert pacer.throttled_recently(Category.CLUSTER_READ)

    simulated(scenario)


def test_an_act_whose_permit_breaks_is_not_sent() -> None:
    async def scenario(stage: SimStage) -> None:
        await read(stage)

        def broken() -> str | None:
            raise RuntimeError("no store")

        outcome = await stage.client.start_task(stage.start(stage.hosts[0]), broken)
        assert isinstance(outcome, NotDone)
        assert "no store" in outcome.message
        assert "StartTask" not in stage.cloud.counts

    simulated(scenario)


def test_partial_answers_carry_tasks_and_failures() -> None:
    async def scenario(stage: SimStage) -> None:
        await read(stage)
        stage.cloud.disconnect_agent(stage.hosts[1], now=stage.live.now())
        outcome = await stage.client.start_task(stage.start(*stage.hosts), allowed)
        assert isinstance(outcome, Started)
        assert [task.container_instance_arn for task in outcome.tasks] == [stage.hosts[0]]
        assert [(f.arn, f.reason) for f in outcome.failures] == [(stage.hosts[1], "AGENT")]

    simulated(scenario)


def test_lists_are_followed_page_by_page() -> None:
    async def scenario(stage: SimStage) -> None:
        for _ in range(203):
            stage.cloud.add_host(stage.cluster, now=stage.live.now())
        found: list[str] = []
        token: str | None = None
        pages = 0
        while pages == 0 or token is not None:
            page = await stage.client.list_hosts(stage.cluster, next_token=token)
            found += page.items
            token = page.next_token
            pages += 1
        assert pages == 3
        assert len(set(found)) == 205

    simulated(scenario)


def test_services_are_followed_page_by_page() -> None:
    async def scenario(stage: SimStage) -> None:
        arns = [stage.add_service(f"s{n}", "REPLICA") for n in range(150)]
        first = await stage.client.list_services(stage.cluster)
        assert len(first.items) == 100
        assert first.next_token is not None
        second = await stage.client.list_services(stage.cluster, next_token=first.next_token)
        assert second.next_token is None
        assert sorted(first.items + second.items) == sorted(arns)

    simulated(scenario)


# --- Attributes of hosts --------------------------------------------------------------------------


Mark = Callable[[SimStage], Awaitable[Marked | NotDone | InDoubt]]


async def put(stage: SimStage) -> Marked | NotDone | InDoubt:
    return await stage.client.put_attribute(
        stage.cluster, stage.hosts, name="wave", value="one", permit=allowed
    )


async def delete(stage: SimStage) -> Marked | NotDone | InDoubt:
    return await stage.client.delete_attribute(
        stage.cluster, stage.hosts, name="wave", permit=allowed
    )


@pytest.fixture(params=[put, delete])
def mark(request: pytest.FixtureRequest) -> Mark:
    found: Mark = request.param
    return found


def test_marks_carry_the_present_and_go_out_once(mark: Mark) -> None:
    async def scenario(stage: SimStage) -> None:
        await read(stage)
        assert isinstance(await mark(stage), Marked)
        sent = stage.tap.sent[-1]
        assert stage.live.now() - sent.date == pytest.approx(0, abs=2)
        assert sent.fresh
        assert len(stage.tap.sent) == 2

    simulated(scenario)


def test_nothing_is_marked_before_ecs_has_told_its_time(mark: Mark) -> None:
    async def scenario(stage: SimStage) -> None:
        outcome = await mark(stage)
        assert isinstance(outcome, NotDone)
        assert (outcome.meaning, outcome.code) == (Meaning.DID_NOT_HAPPEN, "clock")
        assert stage.tap.sent == []

    simulated(scenario)


@pytest.mark.parametrize(
    ("code", "status", "meaning"),
    [
        ("ThrottlingException", 400, Meaning.DID_NOT_HAPPEN),
        ("ExpiredTokenException", 400, Meaning.DID_NOT_HAPPEN),
        ("AccessDeniedException", 400, Meaning.ENVIRONMENT),
        ("ClusterNotFoundException", 400, Meaning.CLUSTER),
        ("TargetNotFoundException", 400, Meaning.BISECT),
        ("AttributeLimitExceededException", 400, Meaning.BISECT),
        ("InvalidParameterException", 400, Meaning.BISECT),
    ],
)
def test_a_refused_mark_was_not_made(mark: Mark, code: str, status: int, meaning: Meaning) -> None:
    async def scenario(stage: SimStage) -> None:
        await read(stage)
        stage.tap.answers = _error(code, status)
        outcome = await mark(stage)
        assert isinstance(outcome, NotDone)
        assert (outcome.meaning, outcome.code) == (meaning, code)
        assert outcome.throttled is (code == "ThrottlingException")
        assert outcome.request_id
        assert len(stage.tap.sent) == 2

    simulated(scenario)


def test_a_throttled_mark_slows_what_acts(mark: Mark) -> None:
    async def scenario(stage: SimStage) -> None:
        await read(stage)
        stage.tap.answers = _error("ThrottlingException")
        await mark(stage)
        pacer = stage.client._pacer
        assert pacer.throttled_recently(Category.RESOURCE_MODIFY)
        assert not pacer.throttled_recently(Category.CLUSTER_READ)

    simulated(scenario)


@pytest.mark.parametrize(
    "faults",
    [
        Faults(garble=1.0),
        Faults(error_after=1.0),
        Faults(error_before=1.0),
        Faults(drop_answer=1.0),
    ],
    ids=["garbled", "error after", "error before", "dropped"],
)
def test_a_mark_without_a_whole_answer_of_ecs_is_in_doubt(mark: Mark, faults: Faults) -> None:
    async def scenario(stage: SimStage) -> None:
        await read(stage)
        stage.cloud.faults = faults
        begin = stage.clock.monotonic()
        outcome = await mark(stage)
        assert isinstance(outcome, InDoubt)
        assert outcome.signed_at == pytest.approx(begin, abs=0.1)
        assert len(stage.tap.sent) == 2

    simulated(scenario)


def test_an_unreachable_ecs_marked_nothing(mark: Mark) -> None:
    async def scenario(stage: SimStage) -> None:
        await read(stage)
        stage.cloud.faults = Faults(unreachable=1.0)
        outcome = await mark(stage)
        assert isinstance(outcome, NotDone)
        assert (outcome.meaning, outcome.code) == (Meaning.DID_NOT_HAPPEN, "connect")
        assert set(stage.cloud.counts) == {"DescribeClusters"}

    simulated(scenario)


def test_a_mark_refused_for_its_signature_does_not_end_dating_back(mark: Mark) -> None:
    async def scenario(stage: SimStage) -> None:
        await read(stage)
        stage.tap.answers = _error("InvalidSignatureException")
        assert isinstance(await mark(stage), NotDone)
        assert stage.client.assumptions_in_force == Assumptions()
        assert stage.notices == []

    simulated(scenario)


def test_where_credentials_refuse_old_dates_marks_are_accepted(mark: Mark) -> None:
    async def scenario(stage: SimStage) -> None:
        await read(stage)
        assert isinstance(await mark(stage), Marked)

    simulated(scenario, switches=PICKY)


def test_the_eleventh_attribute_is_one_too_many() -> None:
    async def scenario(stage: SimStage) -> None:
        await read(stage)
        outcomes = [
            await stage.client.put_attribute(
                stage.cluster, stage.hosts[:1], name=f"a{n}", value="v", permit=allowed
            )
            for n in range(11)
        ]
        assert all(isinstance(outcome, Marked) for outcome in outcomes[:10])
        last = outcomes[10]
        assert isinstance(last, NotDone)
        assert (last.meaning, last.code) == (Meaning.BISECT, "AttributeLimitExceededException")

    simulated(scenario)
