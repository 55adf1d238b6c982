"""Which file system holds a path, by the text of /proc/self/mountinfo."""

import pytest

from blox.store.filesystem import NETWORK, network_filesystem

LOCAL = "22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw"


def mount(point: str, kind: str, *, tags: str = "shared:7 master:2 ") -> str:
    return f"36 22 0:30 /export {point} rw,noatime {tags}- {kind} server:/export rw,vers=4"


def table(*lines: str) -> str:
    return "\n".join((LOCAL, *lines)) + "\n"


@pytest.mark.parametrize(
    "kind",
    ["nfs", "nfs4", "cifs", "smb3", "9p", "ceph", "glusterfs", "lustre", "fuse.sshfs"],
)
def test_network_file_systems_are_named(kind: str) -> None:
    assert kind in NETWORK
    assert network_filesystem(table(mount("/mnt/data", kind)), "/mnt/data/blox.db") == kind


@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs", "tmpfs", "overlay", "fuse.rclone-not"])
def test_local_file_systems_are_not(kind: str) -> None:
    assert network_filesystem(table(mount("/mnt/data", kind)), "/mnt/data/blox.db") is None


def test_only_what_is_below_the_mount_point_is_on_it() -> None:
    text = table(mount("/mnt/data", "nfs"))
    assert network_filesystem(text, "/mnt/data") == "nfs"
    assert network_filesystem(text, "/mnt/data/a/b/c") == "nfs"
    assert network_filesystem(text, "/mnt/data2/blox.db") is None
    assert network_filesystem(text, "/mnt") is None


def test_the_longest_mount_point_wins_in_any_order() -> None:
    outer, inner = mount("/srv", "nfs4"), mount("/srv/local", "xfs")
    for lines in ((outer, inner), (inner, outer)):
        assert network_filesystem(table(*lines), "/srv/local/blox.db") is None
        assert network_filesystem(table(*lines), "/srv/blox.db") == "nfs4"
    assert network_filesystem(table(mount("/", "9p")), "/blox.db") == "9p"


def test_of_two_mounts_on_one_point_the_later_covers_the_earlier() -> None:
    text = table(mount("/srv", "ext4"), mount("/srv", "cifs"))
    assert network_filesystem(text, "/srv/blox.db") == "cifs"
    text = table(mount("/srv", "cifs"), mount("/srv", "ext4"))
    assert network_filesystem(text, "/srv/blox.db") is None


def test_escaped_characters_of_mount_points_are_understood() -> None:
    text = table(mount(r"/mnt/my\040disk\134one", "nfs"))
    assert network_filesystem(text, "/mnt/my disk\\one/blox.db") == "nfs"
    assert network_filesystem(text, "/mnt/my/blox.db") is None


def test_mounts_without_tags_and_broken_lines() -> None:
    text = table("", "nonsense", "1 2 3 - nfs x y", mount("/mnt", "ceph", tags=""))
    assert network_filesystem(text, "/mnt/blox.db") == "ceph"
    assert network_filesystem("", "/mnt/blox.db") is None
