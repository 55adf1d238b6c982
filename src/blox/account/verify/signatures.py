"""How old a signature may be, and whether temporary credentials may sign in the past."""

from blox.account.verify.client import CannotAsk
from blox.account.verify.lab import Lab, usable
from blox.account.verify.report import Finding, judged, not_asked
from blox.ecs.errors import CREDENTIAL_CODES, SIGNATURE_CODES

MARGIN = 10.0
"""Seconds on either side of the limit."""


async def signature_age(lab: Lab) -> list[Finding]:
    """One read dated so far back that it must be refused, one that must not; if the first is
    accepted, one at three times that age."""
    limit = lab.orders.assumptions.signature_age
    await lab.ecs.ask("DescribeClusters", {"clusters": [lab.ecs.cluster]})  # tells ECS's clock
    younger = max(limit - MARGIN, limit / 2)
    accepted: list[float] = []
    refused: list[float] = []
    codes: list[str] = []
    for age in (younger, limit + MARGIN, 3 * limit + MARGIN):
        answer = await lab.ecs.call(
            "DescribeClusters", {"clusters": [lab.ecs.cluster]}, dated_back=age
        )
        if answer.served:
            accepted.append(age)
        elif answer.code in SIGNATURE_CODES:
            refused.append(age)
            codes.append(f"{answer.code}, HTTP {answer.status}")
            if age > limit:
                break
        else:
            raise CannotAsk(f"a read dated {age:g} s back was refused: {answer.words}")
    same = accepted == [younger] and refused == [limit + MARGIN]
    parts = [f"accepted at {_ages(accepted)}" if accepted else "accepted at no age tried"]
    parts.append(
        f"refused at {_ages(refused)} ({codes[0]})" if refused else "never refused: no date checked"
    )
    return [judged("signature-age", ", ".join(parts), same=same)]


def _ages(ages: list[float]) -> str:
    return " and ".join(f"{age:g} s" for age in ages)


async def backdated_signature(lab: Lab) -> list[Finding]:
    """A StartTask dated back as far as the scheduler dates its own."""
    question, back = "backdated-signature", lab.orders.assumptions.dated_back
    placed = await lab.start([lab.host.arn], dated_back=back)
    answer = placed.answer
    if answer.code in SIGNATURE_CODES | CREDENTIAL_CODES:
        kind = "temporary" if lab.orders.temporary else "permanent"
        seen = f"refused {back:g} s back, {kind} credentials: {answer.words}"
        return [judged(question, seen, same=False)]
    usable(placed, failures_tell=False)
    if not answer.served:
        raise CannotAsk(f"StartTask was refused: {answer.words}")
    if not lab.orders.temporary:
        return [
            not_asked(
                question,
                f"these credentials are permanent ones (with them it was accepted {back:g} s back);"
                " use a role's",
            )
        ]
    return [judged(question, f"accepted {back:g} s back, temporary credentials", same=True)]
