"""What some hosts have in common that the others have not."""

from blox.account.shared_traits import Trait, shared_traits, traits_of
from support.surveys import host

ARM = {
    "ecs.cpu-architecture": "arm64",
    "ecs.ami-id": "ami-2",
    "ecs.instance-type": "m7g.large",
}


def names(found: tuple[Trait, ...]) -> list[str]:
    return [trait.name for trait in found]


def test_what_all_have_and_no_other_comes_in_the_order_in_which_it_explains() -> None:
    found = shared_traits([host(1, ARM), host(2, ARM)], [host(3), host(4), host(5)])
    assert names(found) == ["ami", "architecture", "type"]
    assert all(trait.only_here for trait in found)
    assert found[0] == Trait(name="ami", value="ami-2", hosts=2, of=2, others=0, of_others=3)


def test_what_everybody_has_sets_nobody_apart() -> None:
    assert shared_traits([host(1), host(2)], [host(3), host(4)]) == ()


def test_a_trait_that_few_of_the_others_have_is_told_with_its_numbers() -> None:
    zone = {"ecs.availability-zone": "us-east-1b"}
    others = [host(3, zone), host(4), host(5), host(6)]
    (found,) = shared_traits([host(1, zone), host(2, zone)], others)
    assert (found.name, found.value) == ("zone", "us-east-1b")
    assert (found.hosts, found.of, found.others, found.of_others) == (2, 2, 1, 4)
    assert not found.only_here


def test_a_trait_of_most_others_is_not_told() -> None:
    zone = {"ecs.availability-zone": "us-east-1b"}
    others = [host(3, zone), host(4, zone), host(5)]
    assert shared_traits([host(1, zone), host(2, zone)], others) == ()


def test_most_of_many_hosts_are_enough_when_hardly_any_other_is_like_them() -> None:
    ours = [host(1, ARM), host(2, ARM), host(3, ARM), host(4)]
    others = [host(number) for number in range(5, 10)]
    found = shared_traits(ours, others)
    assert names(found) == ["ami", "architecture", "type"]
    assert (found[0].hosts, found[0].of) == (3, 4)


def test_most_of_three_hosts_mean_nothing() -> None:
    assert shared_traits([host(1, ARM), host(2, ARM), host(3)], [host(4), host(5)]) == ()


def test_of_one_host_only_what_no_other_has_is_told() -> None:
    zone = {"ecs.availability-zone": "us-east-1b"}
    others = [host(2, zone), host(3), host(4), host(5)]
    assert shared_traits([host(1, zone)], others) == ()
    assert names(shared_traits([host(1, ARM)], others)) == ["ami", "architecture", "type"]


def test_without_others_nothing_sets_the_hosts_apart() -> None:
    assert shared_traits([host(1, ARM), host(2, ARM)], []) == ()
    assert shared_traits([], [host(1)]) == ()


def test_the_rarest_among_the_others_comes_first() -> None:
    alike = {"ecs.availability-zone": "us-east-1b", "ecs.instance-type": "c7i.large"}
    others = [host(3, {"ecs.instance-type": "c7i.large"}), host(4), host(5), host(6)]
    found = shared_traits([host(1, alike), host(2, alike)], others)
    assert names(found) == ["zone", "type"]


def test_capacity_provider_agent_and_external_hosts_are_traits_too() -> None:
    outside = {"ecs.capability.external": ""}
    ours = [
        host(number, outside, capacity_provider="cp-spot", agent_version="1.20.0")
        for number in (1, 2)
    ]
    found = shared_traits(ours, [host(3), host(4)])
    assert [(t.name, t.value) for t in found] == [
        ("capacityProvider", "cp-spot"),
        ("agent", "1.20.0"),
        ("external", "yes"),
    ]


def test_what_is_not_known_is_nothing_in_common() -> None:
    bare = [host(number, capacity_provider="") for number in (1, 2)]
    others = [host(number, capacity_provider="cp") for number in (3, 4)]
    assert shared_traits(bare, others) == ()
    assert "capacityProvider" not in traits_of(bare[0])
    assert traits_of(others[0])["capacityProvider"] == "cp"
