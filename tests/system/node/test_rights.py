"""What the operator was granted and what it used, over all tests of this folder; runs last."""

from support.rights import Asked, asked, granted
from tools.cluster.control_plane import Cluster
from tools.installation import Installation

UNSEEN: dict[Asked, str] = {
    ("create", "", "secrets"): "a server-side apply that creates is logged as a patch",
}
"""Rights whose use these tests do not see, and why."""


def test_every_right_is_used_and_none_is_missing(
    cluster: Cluster, installation: Installation
) -> None:
    """The operator did everything it may do, and was refused nothing."""
    del installation
    used = set(asked(cluster, "allow"))
    assert granted(cluster) - used == set(UNSEEN)
    assert not asked(cluster, "forbid")
