"""The whole of what ECS told: members, times, merging, and how it is written."""

import json
import math

import pytest

from blox.clusterstate.whole import NOTHING, Whole, members_of, merge_whole, whole_of

EVENT = -math.inf


def told(whole: Whole, version: int, begun: float, **members: object) -> Whole:
    sent = json.dumps({**members, "version": version}, separators=(",", ":")).encode()
    return merge_whole(whole, members_of(sent), (version, begun), {})


def plain(whole: Whole) -> dict[str, object]:
    found: dict[str, object] = json.loads(whole.json())
    return found


def test_every_member_is_kept_as_it_came_but_nulls_and_the_time_of_the_event() -> None:
    sent = b'{"taskArn":"a","cpu":"256","tags":[],"stopCode":null,"updatedAt":"x","new":{"b": [1]}}'
    whole = merge_whole(NOTHING, members_of(sent), (1, 1.0), {})
    assert whole.json() == b'{"cpu":"256","new":{"b": [1]},"tags":[],"taskArn":"a"}'
    assert whole.get("cpu") == b'"256"'
    assert whole.get("stopCode") is None


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ('"2025-06-15T15:06:40.125Z"', b"1750000000.125"),
        ('"2025-06-15T17:06:40+02:00"', b"1750000000.0"),
        ('"2025-06-15 15:06:40,5Z"', b"1750000000.5"),
        ("1750000000", b"1750000000.0"),
        ("1.750000000125E9", b"1750000000.125"),
        ('"2025-06-15T15:06:40"', b'"2025-06-15T15:06:40"'),
        ('"soon"', b'"soon"'),
        ("true", b"true"),
        ("[1]", b"[1]"),
    ],
)
def test_times_become_seconds_however_they_were_written(sent: str, kept: bytes) -> None:
    assert members_of(b'{"createdAt":%s}' % sent.encode()) == {"createdAt": kept}


def test_what_an_account_leaves_out_stays() -> None:
    whole = told(NOTHING, 3, 1.0, healthStatus="HEALTHY", lastStatus="RUNNING")
    whole = told(whole, 4, EVENT, lastStatus="STOPPED")
    assert plain(whole) == {"healthStatus": "HEALTHY", "lastStatus": "STOPPED", "version": 4}
    assert whole.lagging == (("healthStatus", (3, 1.0)),)
    assert (whole.version, whole.begun) == (4, EVENT)


def test_an_older_account_fills_in_only_what_was_not_told_since() -> None:
    whole = told(NOTHING, 3, 1.0, health="OLD", status="A")
    whole = told(whole, 5, EVENT, status="C")
    whole = told(whole, 4, 2.0, health="NEW", status="B", fresh=1)
    assert plain(whole) == {"health": "NEW", "status": "C", "fresh": 1, "version": 5}
    assert dict(whole.lagging) == {"health": (4, 2.0), "fresh": (4, 2.0)}
    # At the version of the newest account, whoever was asked last counts, and an event never does.
    assert plain(told(whole, 5, 3.0, status="D"))["status"] == "D"
    assert plain(told(whole, 5, EVENT, status="E"))["status"] == "C"


def test_the_same_object_is_kept_where_nothing_can_be_told_apart() -> None:
    whole = told(NOTHING, 3, 1.0, status="A")
    assert told(whole, 3, 1.0, status="A") is whole
    assert told(whole, 2, 9.0, status="B") is whole
    later = told(whole, 3, 2.0, status="A")
    assert later is not whole
    assert later.begun == 2.0
    assert later.values is whole.values
    assert later.shows_the_same(whole)
    assert not later.shows_the_same(told(whole, 4, 2.0, status="A"))


def test_the_order_of_members_inside_a_value_is_no_change() -> None:
    one = b'{"containers":[{"name":"a","cpu":1},{"name":"b"}],"version":1}'
    other = b'{"containers":[{"cpu":1,"name":"a"},{"name":"b"}],"version":1}'
    moved = b'{"containers":[{"name":"b"},{"name":"a","cpu":1}],"version":1}'
    whole = merge_whole(NOTHING, members_of(one), (1, 1.0), {})
    assert merge_whole(whole, members_of(other), (1, 2.0), {}).values is whole.values
    assert merge_whole(whole, members_of(moved), (1, 2.0), {}).values != whole.values


def test_what_the_record_decides_wins_and_has_no_stamp() -> None:
    members = members_of(b'{"lastStatus":"RUNNING","cpu":"1"}')
    decided = {"lastStatus": b'"STOPPED"'}
    whole = merge_whole(NOTHING, members, (1, 1.0), decided)
    assert whole.get("lastStatus") == b'"STOPPED"'
    whole = merge_whole(whole, {}, (2, EVENT), decided)
    assert whole.lagging == (("cpu", (1, 1.0)),)
    changed = merge_whole(whole, members, (0, 0.0), {"lastStatus": b'"DELETED"'})
    assert changed.get("lastStatus") == b'"DELETED"'
    assert (changed.version, changed.begun) == (2, EVENT)


def test_equal_values_of_different_entities_are_one_object() -> None:
    attributes = [{"name": f"a{at}"} for at in range(40)]
    one = told(NOTHING, 1, 1.0, attributes=attributes, status="ACTIVE")
    other = told(NOTHING, 7, 2.0, status="ACTIVE", attributes=attributes)
    assert one.names is other.names
    assert one.get("attributes") is other.get("attributes")
    assert one.get("status") is other.get("status")


def test_names_that_need_escaping_are_written_so() -> None:
    sent = json.dumps({'a"b\\': 1, "é\n": 2}).encode()
    whole = merge_whole(NOTHING, members_of(sent), (1, 1.0), {})
    assert json.loads(whole.json()) == {'a"b\\': 1, "é\n": 2}


def test_what_was_written_is_read_again() -> None:
    whole = told(NOTHING, 3, 1.0, b=[1, {"c": None}], a="x", createdAt=1.5)
    again = whole_of(whole.json(), version=3, begun=1.0)
    assert again == whole
    assert again.names is whole.names
    assert whole_of(b'{"b":1,"a":2}', version=1, begun=0.0).names == ("a", "b")


@pytest.mark.parametrize("sent", [b"[]", b"7", b"", b'{"a":'])
def test_what_is_no_object_is_refused(sent: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        members_of(sent)
