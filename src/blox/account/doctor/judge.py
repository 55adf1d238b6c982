"""Making findings of what `blox doctor` found out."""

from typing import Final

from blox.account.doctor.cluster import judge_cluster
from blox.account.doctor.facts import Caller, Facts, Trouble
from blox.account.doctor.findings import Finding, Report, account_of, counted, note, ok, problem
from blox.account.doctor.iam import principal_of
from blox.account.doctor.load import FREE, MONTH, PRICE, idle_requests, load_of, price_of
from blox.account.doctor.queue_judge import judge_queue
from blox.account.permissions import Where, grant_of, statements
from blox.ecs.fence import probe_ages

OFF_BY: Final = 5.0
"""Seconds by which clocks may differ unnoticed: Date headers have whole seconds, and answers take
their time."""
WRONG_BY: Final = 60.0
"""Seconds from which on this machine's clock is a problem: at 300 s AWS refuses its signatures.
https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-troubleshooting.html"""


def judge(facts: Facts) -> Report:
    """All findings, in the order of the screen."""
    if facts.unreachable is not None:
        return Report(findings=(*_elsewhere(facts), _unreachable(facts, facts.unreachable)))
    return Report(
        findings=(
            _account(facts),
            *_elsewhere(facts),
            *_clock(facts),
            *(() if facts.state_service else _dates(facts)),
            *_iam(facts),
            *_listing(facts),
            *(finding for cluster in facts.clusters for finding in judge_cluster(facts, cluster)),
            *judge_queue(facts),
            *_load(facts),
            *(() if facts.state_service else (_assumptions(facts),)),
        )
    )


def _account(facts: Facts) -> Finding:
    """Who and where."""
    region = f"region {facts.region}"
    if isinstance(facts.caller, Caller):
        shown = principal_of(facts.caller.arn, facts.region).shown
        return ok("account", "account", f"{facts.caller.account}   {region}   as {shown}")
    account = account_of(facts) or "not known"
    why = facts.caller.sentence if facts.caller is not None else "nobody was asked"
    return note(
        "account", "caller-not-known", f"{account}   {region}   who we are is not known: {why}"
    )


def _elsewhere(facts: Facts) -> list[Finding]:
    if not facts.elsewhere:
        return []
    return [
        note(
            "endpoint",
            "endpoint-overridden",
            f"not AWS's own: {'; '.join(facts.elsewhere)}",
            "what follows holds for what answers there",
        )
    ]


def _unreachable(facts: Facts, trouble: Trouble) -> Finding:
    behind = facts.clock_behind
    clock = ""
    if behind is not None and abs(behind) > WRONG_BY:
        clock = f" This machine's clock is {_apart(behind)}"
    return problem(
        "ecs",
        "ecs-unreachable",
        f"ECS in {facts.region} tells us nothing. {trouble.sentence}.{clock}".replace("..", "."),
        "mend credentials (AWS_PROFILE), region (AWS_REGION), network or clock, as the sentence "
        "says",
    )


def _apart(behind: float) -> str:
    side = "behind" if behind > 0 else "ahead of"
    return f"{abs(behind):,.0f} s {side} ECS's"


def _clock(facts: Facts) -> list[Finding]:
    behind = facts.clock_behind
    if behind is None:
        return []
    if abs(behind) <= OFF_BY:
        return [ok("clock", "clock", "this machine's and ECS's agree to within 5 s")]
    if abs(behind) < WRONG_BY:
        return [
            note(
                "clock",
                "clock-off",
                f"this machine's is {_apart(behind)}; blox goes by ECS's",
                "let chrony or systemd-timesyncd set it",
            )
        ]
    return [
        problem(
            "clock",
            "clock-wrong",
            f"this machine's is {_apart(behind)}. blox goes by ECS's, but AWS refuses what other "
            "programs sign here once it is 300 s off",
            "let chrony or systemd-timesyncd set it",
        )
    ]


def _dates(facts: Facts) -> list[Finding]:
    """The fence: an act that is lost on its way must become too old to be accepted."""
    signatures = facts.signatures
    if signatures is None:
        return []
    if signatures.stands:
        age = probe_ages(facts.settings.assumptions)[0]
        return [ok("dates", "dates", f"ECS refused a read that was signed {age:g} s ago")]
    return [
        note(
            "dates",
            "dates",
            signatures.sentence,
            "the scheduler adapts to it; blox verify-aws, question 14",
        )
    ]


def _iam(facts: Facts) -> list[Finding]:
    trouble = facts.iam
    if trouble is None:
        return []
    lacking: tuple[dict[str, object], ...] = ()
    step = "" if facts.tried_writes else "blox doctor --try-writes finds out without IAM"
    if trouble.denied:
        principals: tuple[str, ...] = ()
        if isinstance(facts.caller, Caller):
            principals = principal_of(facts.caller.arn, facts.region).candidates[:1]
        where = Where(
            partition=facts.partition,
            region=facts.region,
            account=account_of(facts),
            principals=principals,
        )
        lacking = statements([grant_of(trouble.action)], where)
        step = f"add the statement below, or: {step}" if step else "add the statement below"
    sentence = f"could not be asked what is allowed: {trouble.sentence}"
    return [note("iam", "iam-not-asked", sentence, step, statements=lacking)]


def _listing(facts: Facts) -> list[Finding]:
    trouble = facts.listing
    if trouble is not None:
        lacking: tuple[dict[str, object], ...] = ()
        if trouble.denied:
            where = Where(partition=facts.partition, region=facts.region, account=account_of(facts))
            lacking = statements([grant_of(trouble.action)], where)
        return [
            problem(
                "clusters",
                "clusters-not-listed",
                f"could not be listed: {trouble.sentence}",
                "name one: blox doctor --cluster NAME",
                statements=lacking,
            )
        ]
    if not facts.clusters:
        return [
            note(
                "clusters",
                "no-clusters",
                f"none in {facts.region}",
                "another region or account? AWS_REGION, AWS_PROFILE",
            )
        ]
    return []


def _load(facts: Facts) -> list[Finding]:
    settings = facts.settings
    with_queue = bool(facts.queue_asked)
    load = load_of(
        [cluster.survey for cluster in facts.clusters if cluster.survey is not None],
        queue=with_queue,
        view=settings.view,
        pacing=settings.pacing,
    )
    if load is None:
        return []
    which = "this cluster" if load.clusters == 1 else f"these {load.clusters} clusters"
    found = [
        ok(
            "calls",
            "ecs-calls",
            f"sweeping {which}: {counted(load.calls, 'read')} every {load.interval:g} s "
            f"{'with' if with_queue else 'without'} a queue = {load.a_day:,} a day, "
            f"{load.share:.1%} of the account's read quota here; ECS takes no money for them",
        )
    ]
    if with_queue:
        requests = idle_requests()
        dollars = price_of(requests)
        cost = f"${dollars:.2f}" if dollars else f"within the {FREE:,} a month that are free"
        found.append(
            ok(
                "calls",
                "sqs-requests",
                f"waiting at the queue: about {requests:,} requests in {MONTH} days, {cost}; two "
                f"more for each ten messages or fewer; ${PRICE:.2f} for a million beyond that, if "
                "your region's price is us-east-1's (https://aws.amazon.com/sqs/pricing/)",
            )
        )
    return found


def _assumptions(facts: Facts) -> Finding:
    sentence = (
        f"{facts.seen} of {facts.assumptions} assumptions seen on a real account yet (the "
        "simulator runs both ways)"
    )
    if facts.seen == facts.assumptions:
        return ok("real ECS", "assumptions", sentence)
    return note("real ECS", "assumptions", sentence, "look: blox verify-aws in a sandbox")
