"""How a slot's story is told: what it is, whose move it is, and what happened."""

from blox.cli.client import JsonObject
from blox.cli.output import plain, say, say_wrapped, span
from blox.cli.words import definition_name, full_name, host_name, moment, second, spoken


def say_story(told: JsonObject, *, host_named: bool) -> None:
    """One host as one environment sees it, and what happened there."""
    host = f"{host_name(told)}  " if host_named else ""
    verdict = str(told.get("would") or told["verdict"]).upper()
    say_wrapped(
        f"{host}{full_name(told)}  {spoken(told['class'])} for {span(told['sinceSeconds'])}   "
        f"verdict {verdict}: {told['sentence']}"
    )
    say_wrapped(f"  next: {told['who']}: {told['nextStep']}")
    if told["task"] is not None:
        task = told["task"]
        wanted = "" if task["desiredStatus"] == task["status"] else f" -> {task['desiredStatus']}"
        say(
            f"  task {task['arn'].rsplit('/', 1)[-1]}  {definition_name(task['definition'])}  "
            f"{task['status']}{wanted}"
        )
    if not told["story"]:
        say(f"  nothing happened here since this scheduler began at {second(told['storySince'])}")
        return
    for entry in told["story"]:
        say_wrapped(f"  {moment(entry['at'])}  {entry['what'].ljust(8)}  {_said(entry)}", indent=24)


def _said(entry: JsonObject) -> str:
    request = entry["details"].get("request")
    return plain(entry["text"]) + (f"   request {request}" if request else "")
