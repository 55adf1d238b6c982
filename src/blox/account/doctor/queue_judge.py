"""Judging the queue: whether it is there, whether events can come, whether somebody takes them."""

from typing import Final

from blox.account.doctor.facts import (
    ABSENT,
    Facts,
    QueueFacts,
    RuleFacts,
    TargetFacts,
    Trouble,
    Verdict,
)
from blox.account.doctor.findings import Finding, account_of, counted, named, note, ok, problem
from blox.account.doctor.rule import KINDS, Passage, Passes, lets_events_in, passage
from blox.account.permissions import Where, grant_of, statements

BEHIND: Final = 1000
"""So many messages waiting are no passing peak: a scheduler takes 40 at a time."""
_MAKE: Final = "make one: blox setup --print cloudformation"
_AGE: Final = (
    "how old the oldest is SQS does not tell; CloudWatch's ApproximateAgeOfOldestMessage does"
)


def judge_queue(facts: Facts) -> list[Finding]:
    """Everything about the queue, in the order of the screen."""
    queue = facts.queue
    if queue is None:
        view = facts.settings.view
        return [
            note(
                "queue",
                "no-queue",
                f"none named (--queue). New hosts are then seen within about "
                f"{view.sweep_interval_without_queue:g} s instead of about 1 s",
                _MAKE,
            )
        ]
    if isinstance(queue, Trouble):
        return [_unusable(facts, queue)]
    return [
        *_itself(queue),
        *_receiving(facts, queue),
        *_dead_letters(queue),
        *_rules(facts, queue),
    ]


def _where(queue: QueueFacts) -> Where | None:
    if queue.arn.count(":") != 5:
        return None
    _, partition, _, region, account, _ = queue.arn.split(":")
    return Where(partition=partition, region=region, account=account, queues=(queue.name,))


def _lacking(queue: QueueFacts, *actions: str) -> tuple[dict[str, object], ...]:
    where = _where(queue)
    return () if where is None else statements([grant_of(action) for action in actions], where)


def _unusable(facts: Facts, trouble: Trouble) -> Finding:
    if trouble.code in ABSENT:
        return problem(
            "queue",
            "queue-absent",
            f"there is no {facts.queue_asked} in this region and account, or it is hidden from "
            "this role",
            f"correct --queue, or {_MAKE}",
        )
    lacking: tuple[dict[str, object], ...] = ()
    if trouble.denied and account_of(facts):
        where = Where(
            partition=facts.partition,
            region=facts.region,
            account=account_of(facts),
            queues=(facts.queue_asked,),
        )
        lacking = statements([grant_of(trouble.action)], where)
    return problem(
        "queue",
        "queue-unreadable",
        f"{facts.queue_asked}: {trouble.sentence}",
        "add the statement below" if lacking else "mend what the sentence names",
        statements=lacking,
    )


def _itself(queue: QueueFacts) -> list[Finding]:
    found = [
        note(
            "queue",
            "queue-not-known",
            f"{queue.name}: {trouble.sentence}. The scheduler does not need it; "
            "how far behind the queue is cannot be told without it",
            "allow it, to know",
        )
        for trouble in queue.troubles
    ]
    if queue.fifo:
        found.append(
            note(
                "queue",
                "queue-fifo",
                f"{queue.name} is a FIFO queue: blox needs no order, and EventBridge's order is "
                "not ECS's",
                "a standard queue is cheaper and faster",
            )
        )
    if queue.waiting is None:
        return found
    about = (
        f"{queue.name}: about {counted(queue.waiting, 'message')} waiting, {queue.in_flight:,} "
        f"being read"
    )
    if queue.waiting >= BEHIND:
        found.append(
            problem(
                "queue",
                "queue-behind",
                f"{about}. Nobody reads it, or who does cannot keep up; messages are kept for "
                f"{_days(queue.retention)}; {_AGE}",
                "is daemon-scheduler --queue running? blox status tells what it sees",
            )
        )
    elif queue.waiting:
        found.append(ok("queue", "queue", f"{about}; {_AGE}"))
    else:
        found.append(ok("queue", "queue", f"{about}: nobody is behind"))
    return found


def _days(seconds: float) -> str:
    days = seconds / 86_400
    return f"{days:g} d" if days >= 1 else f"{seconds / 3600:g} h"


def _receiving(facts: Facts, queue: QueueFacts) -> list[Finding]:
    """A role that the queue's own policy lets in needs nothing of its own; IAM was asked about the
    role alone."""
    denied = [p.action for p in queue.permissions if p.verdict is Verdict.DENIED]
    if not denied:
        return []
    sentence = f"no statement of the role allows {', '.join(denied)} on {queue.name}"
    step = "add the statement below, unless the queue's own policy allows it to this role"
    lacking = _lacking(queue, *denied)
    if facts.principal_given:
        return [problem("queue", "queue-denied", sentence, step, statements=lacking)]
    return [
        note(
            "queue",
            "queue-denied",
            f"{sentence}: a scheduler with it would go by sweeps",
            step,
            statements=lacking,
        )
    ]


def _dead_letters(queue: QueueFacts) -> list[Finding]:
    if queue.waiting is None:
        return []
    if not queue.redrive_to:
        return [
            note(
                "queue",
                "no-dead-letters",
                f"{queue.name} has no dead-letter queue: a message that nobody can read comes "
                f"again until it is {_days(queue.retention)} old",
                "blox setup --print cloudformation makes one",
            )
        ]
    name = queue.redrive_to.rsplit(":", 1)[-1]
    if isinstance(queue.dead, Trouble):
        return [
            note(
                "queue",
                "dead-letters-not-known",
                f"its dead-letter queue {name} could not be read: {queue.dead.sentence}",
                "allow sqs:GetQueueUrl and sqs:GetQueueAttributes on it, to know",
            )
        ]
    if queue.dead:
        return [
            problem(
                "queue",
                "dead-letters",
                f"about {counted(queue.dead, 'message')} in its dead-letter queue {name}: received "
                f"{counted(queue.redrive_after, 'time')} and never removed. No daemon is lost by "
                "it: sweeps see what those told",
                f"read one: aws sqs receive-message --queue-url … ({name})",
            )
        ]
    return [ok("queue", "dead-letters-empty", f"its dead-letter queue {name} is empty")]


# --- Rules ----------------------------------------------------------------------------------------


def _rules(facts: Facts, queue: QueueFacts) -> list[Finding]:
    rules = queue.rules
    if isinstance(rules, Trouble):
        return [
            note(
                "rule",
                "rules-not-known",
                f"which rule feeds {queue.name} is not known: {rules.sentence}",
                "allow it, to know" if rules.denied else "",
                statements=_lacking(queue, rules.action) if rules.denied else (),
            )
        ]
    if not rules:
        return [
            problem(
                "rule",
                "no-rule",
                f"no rule of the default event bus sends anything to {queue.name}: no event of "
                "ECS ever comes",
                "blox setup --print cloudformation makes one",
            )
        ]
    found = [finding for rule in rules for finding in _rule(queue, rule)]
    for cluster in facts.clusters:
        if cluster.arn:
            found += _covered(rules, cluster.name, cluster.arn)
    return found


def _rule(queue: QueueFacts, rule: RuleFacts) -> list[Finding]:
    """What is wrong with one rule whatever the cluster."""
    if rule.trouble is not None:
        return [
            note(
                "rule",
                "rule-not-known",
                f"{rule.name} could not be read: {rule.trouble.sentence}",
                "allow it, to know" if rule.trouble.denied else "",
                statements=_lacking(queue, rule.trouble.action) if rule.trouble.denied else (),
            )
        ]
    if not rule.enabled:
        return [
            problem(
                "rule",
                "rule-disabled",
                f"{rule.name} is disabled: it sends nothing",
                f"aws events enable-rule --name {rule.name}",
            )
        ]
    return [*_target(queue, rule), *_entrance(queue, rule)]


def _target(queue: QueueFacts, rule: RuleFacts) -> list[Finding]:
    target = rule.target
    if isinstance(target, Trouble):
        return [
            note(
                "rule",
                "target-not-known",
                f"what {rule.name} sends could not be read: {target.sentence}",
                "allow it, to know" if target.denied else "",
                statements=_lacking(queue, target.action) if target.denied else (),
            )
        ]
    if target is None:
        return []
    if target.transformed:
        return [
            problem(
                "rule",
                "rule-transforms",
                f"{rule.name} sends {queue.name} something else than the event as it is (Input, "
                "InputPath or InputTransformer): blox cannot read it",
                "remove the transformation from the target",
            )
        ]
    if not target.dead_letters:
        return [
            note(
                "rule",
                "rule-no-dead-letters",
                f"{rule.name} has no dead-letter queue: what it cannot deliver is dropped",
                "sweeps find it all the same; blox setup --print cloudformation shows one with",
            )
        ]
    return []


def _entrance(queue: QueueFacts, rule: RuleFacts) -> list[Finding]:
    """A rule may bring a role of its own; then the queue's policy need not know it."""
    if queue.waiting is None or (isinstance(rule.target, TargetFacts) and rule.target.role):
        return []
    admitted = lets_events_in(queue.policy, queue=queue.arn, rule=rule.arn)
    if admitted is False:
        return [
            problem(
                "rule",
                "queue-closed",
                f"the policy of {queue.name} does not let events.amazonaws.com send what "
                f"{rule.name} passes on: no event comes",
                "blox setup --print cloudformation shows the queue's policy",
            )
        ]
    if admitted is None:
        return [
            note(
                "rule",
                "queue-policy-not-understood",
                f"the policy of {queue.name} is more than is understood here: whether it lets in "
                f"what {rule.name} passes on is not known",
                "look whether events.amazonaws.com may sqs:SendMessage",
            )
        ]
    return []


def _covered(rules: tuple[RuleFacts, ...], cluster: str, arn: str) -> list[Finding]:
    """Whether both kinds of events of one cluster get through some rule."""
    known = [rule for rule in rules if rule.trouble is None and rule.enabled]
    if not known:
        return []
    best = {kind: _best(known, kind, arn) for kind in KINDS}
    lost = [kind for kind in KINDS if best[kind].passes is Passes.NONE]
    if lost and any(rule.trouble is not None for rule in rules):
        return []  # one of those that could not be read may be the one
    if lost:
        whys = sorted({best[kind].why for kind in lost})
        return [
            problem(
                "rule",
                "rule-narrow",
                f"no rule lets {' and '.join(lost)} of {cluster} through ({', '.join(whys)})",
                "both kinds are needed: blox setup --print cloudformation shows the pattern",
                cluster=cluster,
            )
        ]
    unsure = [kind for kind in KINDS if best[kind].passes is not Passes.ALL]
    if unsure:
        whys = sorted({best[kind].why for kind in unsure if best[kind].why})
        return [
            note(
                "rule",
                "rule-unclear",
                f"the pattern looks at {', '.join(whys) or 'something else'}: not every event of "
                f"{cluster} may come",
                "blox setup --print cloudformation shows a pattern that lets all through",
                cluster=cluster,
            )
        ]
    names = [rule.name for rule in known]
    verb = "sends" if len(names) == 1 else "send"
    sentence = f"{named(names)} {verb} both kinds of events of {cluster}"
    return [ok("rule", "rule", sentence, cluster=cluster)]


def _best(rules: list[RuleFacts], kind: str, cluster: str) -> Passage:
    order = (Passes.ALL, Passes.SOME, Passes.UNKNOWN, Passes.NONE)
    found = [passage(rule.pattern, kind=kind, cluster=cluster) for rule in rules]
    return min(found, key=lambda item: order.index(item.passes))
