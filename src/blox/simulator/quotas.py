"""ECS's published request quotas: token buckets per account and region.

https://docs.aws.amazon.com/AmazonECS/latest/APIReference/request-throttling.html
"""

from typing import Final

MODIFY: Final = "cluster resource modify"
READ: Final = "cluster resource read"

QUOTAS: Final[dict[str, tuple[float, float]]] = {
    MODIFY: (100, 40),
    READ: (100, 20),
    "cluster modify": (20, 1),
    "cluster read": (50, 20),
    "task definition read": (50, 20),
    "task definition modify": (20, 1),
    "tag modify": (20, 10),
    "tag read": (50, 20),
    "service read": (100, 20),
    "service modify": (50, 5),
    "capacity provider read": (50, 20),
    "capacity provider modify": (20, 1),
    "setting read": (50, 20),
}
"""Category → (burst, refill a second). For capacity providers AWS publishes none: they have those
of clusters here, in buckets of their own."""

CATEGORIES: Final[dict[str, str]] = {
    "StartTask": MODIFY,
    "StopTask": MODIFY,
    "RunTask": MODIFY,
    "PutAttributes": MODIFY,
    "DeleteAttributes": MODIFY,
    "DeregisterContainerInstance": MODIFY,
    "UpdateContainerInstancesState": MODIFY,
    "ListContainerInstances": READ,
    "DescribeContainerInstances": READ,
    "ListTasks": READ,
    "DescribeTasks": READ,
    "ListAttributes": READ,
    "CreateCluster": "cluster modify",
    "DeleteCluster": "cluster modify",
    "DescribeClusters": "cluster read",
    "ListClusters": "cluster read",
    "DescribeTaskDefinition": "task definition read",
    "ListTaskDefinitions": "task definition read",
    "ListTaskDefinitionFamilies": "task definition read",
    "RegisterTaskDefinition": "task definition modify",
    "DeregisterTaskDefinition": "task definition modify",
    "TagResource": "tag modify",
    "UntagResource": "tag modify",
    "ListTagsForResource": "tag read",
    "ListServices": "service read",
    "DescribeServices": "service read",
    "CreateService": "service modify",
    "UpdateService": "service modify",
    "DeleteService": "service modify",
    "DescribeCapacityProviders": "capacity provider read",
    "CreateCapacityProvider": "capacity provider modify",
    "UpdateCapacityProvider": "capacity provider modify",
    "DeleteCapacityProvider": "capacity provider modify",
    "PutClusterCapacityProviders": "cluster modify",
    "ListAccountSettings": "setting read",
}
"""Every operation that the simulated ECS serves → the category whose bucket it draws from."""

MUTATIONS: Final = frozenset(
    operation for operation, category in CATEGORIES.items() if category.endswith("modify")
)


class Buckets:
    """One bucket per category, full at first."""

    def __init__(self) -> None:
        self._level: dict[str, tuple[float, float]] = {}

    def take(self, operation: str, now: float) -> bool:
        """Whether a token was there; a refused call takes none."""
        category = CATEGORIES[operation]
        burst, refill = QUOTAS[category]
        level, since = self._level.get(category, (burst, now))
        level = min(burst, level + max(0.0, now - since) * refill)
        allowed = level >= 1.0
        self._level[category] = (level - 1.0 if allowed else level, now)
        return allowed
