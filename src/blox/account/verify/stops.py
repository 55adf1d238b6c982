"""What StopTask takes, and what a new task does while another one stops.

https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_StopTask.html
"""

from blox.account.verify.client import CannotAsk, number, text
from blox.account.verify.definitions import STUBBORN, Variant
from blox.account.verify.lab import Lab
from blox.account.verify.report import Finding, judged, not_asked
from blox.ecs.errors import DENIED_CODES
from blox.ecs.wire import REASON_LIMIT

CUT = 1024
"""Where longer reasons are cut, as the agent does with its own:
https://github.com/aws/amazon-ecs-agent/pull/3229"""
LONG = 2000
_TELLING = 5.0
"""Seconds that a task must take to stop for a new one's waiting to tell anything."""


async def stop_reason(lab: Lab) -> list[Finding]:
    """A reason as long as blox's own may be, and a far longer one."""
    short = await _kept(lab, REASON_LIMIT)
    long = await _kept(lab, LONG)
    same = short == REASON_LIMIT and long == CUT
    seen = f"of {REASON_LIMIT} characters {_told(short)}, of {LONG:,} {_told(long)}"
    return [judged("stop-reason", seen, same=same)]


async def _kept(lab: Lab, length: int) -> int | str:
    """How many characters of a reason this long come back as stoppedReason, or the refusal."""
    arn = await lab.one(lab.host)
    reason = f"blox verify-aws {lab.orders.run} ".ljust(length, ".")
    answer = await lab.stop(arn, reason=reason)
    if answer.code in DENIED_CODES or answer.uncertain:
        raise CannotAsk(f"StopTask was refused: {answer.words}")
    if not answer.served:
        return answer.words
    seen = await lab.until(
        lambda: lab.describe(arn),
        lambda task: text(task, "desiredStatus") == "STOPPED",
        within=lab.patience.stopped,
    )
    if seen is None:
        raise CannotAsk(f"its task was not seen stopping after {lab.patience.stopped:g} s")
    kept = text(seen, "stoppedReason")
    return len(kept) if reason.startswith(kept) else f"another reason came back: {kept}"


def _told(kept: int | str) -> str:
    return f"{kept:,} came back" if isinstance(kept, int) else kept


async def stop_stopped(lab: Lab) -> list[Finding]:
    """A second StopTask, of a task that is STOPPED and still visible."""
    arn = await lab.one(lab.host)
    await lab.stop(arn)
    await lab.stopped(arn)
    answer = await lab.stop(arn)
    if answer.code in DENIED_CODES or answer.status >= 500:
        raise CannotAsk(f"StopTask was refused: {answer.words}")
    seen = "it answers" if answer.served else answer.words
    return [judged("stop-stopped", seen, same=answer.served)]


async def pending_behind_stopping(lab: Lab) -> list[Finding]:
    """A task that takes its time to stop, and one started behind it."""
    question = "pending-behind-stopping"
    before = await lab.one(lab.host, variant=Variant.STUBBORN)
    await lab.running(before)
    asked = (await lab.stop(before)).sent
    behind = await lab.one(lab.host)
    started = number(await lab.running(behind), "startedAt")
    gone = await lab.stopped(before)
    ended = number(gone, "executionStoppedAt") or number(gone, "stoppedAt")
    if started is None or ended is None:
        return [not_asked(question, "the tasks carry no startedAt or stoppedAt")]
    if started < ended:
        seen = f"it was RUNNING {ended - started:.1f} s before the other one had stopped"
        return [judged(question, seen, same=False)]
    if ended - asked < _TELLING:
        return [
            not_asked(
                question,
                f"the other task stopped too soon to tell ({ended - asked:.1f} s; up to "
                f"{STUBBORN} s were expected)",
            )
        ]
    waited = f"it was RUNNING {started - ended:.1f} s after the other one had stopped"
    return [judged(question, f"{waited}, which took {ended - asked:.1f} s", same=True)]
