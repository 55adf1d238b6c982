"""How a migration is told: numbers that add up, commands to copy, a receipt."""

from typing import Final

from blox.base.errors import InvalidInput
from blox.cli.client import JsonObject
from blox.cli.output import count, plain, say, span
from blox.cli.words import full_name, host_name

_PLACES: Final = {
    "ours": "ours",
    "moving": "moving",
    "aside": "ours, out of reach",
    "leaving": "going back",
    "theirs": "the service's",
    "unmovable": "not movable",
}
_KINDS: Final = ("service/", "service:")


def service_of(reference: str) -> str:
    """The name in `service/NAME`. Raises InvalidInput for what is something else."""
    for kind in _KINDS:
        if reference.startswith(kind) and len(reference) > len(kind):
            return reference.removeprefix(kind)
    if "/" in reference or ":" in reference or not reference:
        raise InvalidInput(f"{reference!r} names no service: service/NAME is needed.")
    return reference


def places_sum(places: JsonObject) -> str:
    """12 hosts = 4 ours + 2 moving + 6 the service's."""
    parts = [f"{places[name]} {told}" for name, told in _PLACES.items() if places[name]]
    return f"{count(places['hosts'], 'host')} = {' + '.join(parts) or 0}"


def again(report: JsonObject, *, back: bool = False) -> str:
    """The command that watches, or turns round."""
    return f"blox migrate service/{report['service']} --to {full_name(report)}" + (
        " --back" if back else ""
    )


def say_begun(environment: JsonObject, report: JsonObject) -> None:
    """What takes over from what, and how many hosts at once."""
    wave, at_once = report["wave"], report["atOnce"]
    line = (
        f"{full_name(report)} takes over from service/{report['service']}, "
        f"{count(at_once, 'host')} at once"
    )
    if at_once < wave:
        allowed = environment["policy"]["maxUnavailable"]
        line += f" (of {wave} asked for: its maxUnavailable is {allowed})"
    say(plain(f"{line}, by the attribute {report['attribute']}"))


def say_constraint(report: JsonObject) -> None:
    """The one command that the operator runs."""
    say(f"  {places_sum(report['places'])}")
    say("run this once; it keeps what constraints the service has, and restarts nothing:")
    say()
    say(f"  {report['constraint']['command']}")
    say()


def say_arrival(arrival: JsonObject, *, of: int, number: int) -> None:
    """One host, and how long it had no daemon."""
    gap = arrival["gapSeconds"]
    told = "gap not measured" if gap is None else f"gap {span(gap)}"
    two = "   TWO at one time" if arrival["two"] else ""
    way = "back" if arrival["back"] else "moved"
    say(plain(f"  {way}  {host_name(arrival['host'])}   {told}   {number} of {of}{two}"))


def say_phase(report: JsonObject) -> None:
    """What is the matter, and who does what about it."""
    say(plain(f"{report['sentence']} -> {report['who']}: {report['nextStep']}"))


def say_unmovable(report: JsonObject) -> None:
    """Hosts that stay the service's, with the reason."""
    for cause in report["unmovable"]:
        names = ", ".join(host_name(host) for host in cause["hosts"][:3])
        left = cause["count"] - min(3, len(cause["hosts"]))
        more = f" and {left} more" if left > 0 else ""
        say(
            plain(
                f"  cannot be moved: {count(cause['count'], 'host')}: {cause['sentence']}   "
                f"{names}{more}"
            )
        )


def say_receipt(report: JsonObject, *, back: bool) -> None:
    """What it cost, judged by ECS's own times."""
    gaps = report["returned" if back else "there"]
    verb = "given back" if back else "moved"
    parts = [f"{count(gaps['hosts'], 'host')} {verb}"]
    if gaps["measured"]:
        worst = gaps["worstHost"]
        where = "" if worst is None else f" ({host_name(worst)})"
        parts.append(f"worst gap {span(gaps['worstSeconds'])}{where}")
        parts.append(f"mean gap {span(gaps['meanSeconds'])}")
    unmeasured = gaps["hosts"] - gaps["measured"]
    if unmeasured:
        parts.append(f"{unmeasured} not measured")
    parts.append(f"hosts with two: {gaps['hostsWithTwo']} (as far as the view saw)")
    say(plain(f"  receipt: {' · '.join(parts)}"))


def say_moved(report: JsonObject) -> None:
    """Every host that can be moved has been."""
    say(plain(f"{full_name(report)} has its hosts: {places_sum(report['places'])}"))
    say_receipt(report, back=False)
    say_unmovable(report)
    left = report["places"]["unmovable"]
    if left:
        say(f"  without the service, {count(left, 'host')} would have no daemon until that changes")
    say("last, delete the service; nothing of ours is touched by that:")
    say()
    say(f"  {report['deleteCommand']}")
    say()


def say_given_back(report: JsonObject) -> None:
    """Every host is the service's."""
    say(plain(f"service/{report['service']} has its hosts again: {places_sum(report['places'])}"))
    say_receipt(report, back=True)
    if report["without"]:
        say(f"  on {count(report['without'], 'host')} of the service no task of it runs")
    say(f"  next: blox environments delete {full_name(report)}")
    if report["constraint"]["present"]:
        say("  and, if the service is to have its constraints as before:")
        say()
        say(f"  {report['constraint']['undoCommand']}")
        say()


def say_detached(report: JsonObject) -> None:
    """What goes on, and what is to be done, for somebody who does not watch."""
    if report["phase"] == "constraint":
        say_constraint(report)
    else:
        say(f"  {places_sum(report['places'])}")
        say_phase(report)
    say(f"watch:    {again(report, back=report['back'])}")
    if not report["back"]:
        say(f"go back:  {again(report, back=True)}")


def say_left(report: JsonObject) -> None:
    """It goes on without us."""
    say(f"  it goes on; watch again: {again(report, back=report['back'])}")
    if report["back"]:
        say(f"  turn round:  {again(report)}")
    else:
        say(f"  give the hosts back: {again(report, back=True)}")
