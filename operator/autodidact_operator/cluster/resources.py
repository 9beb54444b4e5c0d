"""The kinds of objects that the operator reads and writes."""

from dataclasses import dataclass
from typing import Any, NamedTuple

from autodidact_contract.base import GROUP, VERSION

Body = dict[str, Any]
"""An object as the API server sends and takes it."""


@dataclass(frozen=True)
class Resource:
    """A kind of object and where the API server keeps it."""

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        """What stands in an object's `apiVersion`."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def name(self) -> str:
        """The resource as role rules and error messages spell it."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    def path(self, namespace: str | None = None, name: str = "", subresource: str = "") -> str:
        """Returns the path of an object, or of the collection when there is no name."""
        parts = ["apis" if self.group else "api", self.api_version]
        if self.namespaced and namespace:
            parts += ["namespaces", namespace]
        parts += [part for part in (self.plural, name, subresource) if part]
        return "/" + "/".join(parts)


class RunKey(NamedTuple):
    """What the queue and the cache call a run."""

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind}/{self.namespace}/{self.name}"


JOBS = Resource("batch", "v1", "jobs", "Job")
PODS = Resource("", "v1", "pods", "Pod")
SERVICES = Resource("", "v1", "services", "Service")
SECRETS = Resource("", "v1", "secrets", "Secret")
EVENTS = Resource("", "v1", "events", "Event")
LEASES = Resource("coordination.k8s.io", "v1", "leases", "Lease")
TOKEN_REVIEWS = Resource(
    "authentication.k8s.io", "v1", "tokenreviews", "TokenReview", namespaced=False
)
PROFILES = Resource(GROUP, VERSION, "computeprofiles", "ComputeProfile", namespaced=False)


def key_of_run(body: Body) -> RunKey:
    """Returns the key of a run's object."""
    metadata = body["metadata"]
    return RunKey(body["kind"], metadata["namespace"], metadata["name"])
