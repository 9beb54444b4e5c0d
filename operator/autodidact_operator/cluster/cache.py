"""What the operator knows of the cluster: runs, their Jobs and Pods, and the ComputeProfiles.

The cache is filled by watches, by LISTs and by the answers to the operator's own writes, in any
order. An older version of an object never replaces a newer one, and an object that was deleted
never comes back. Fields that nobody reads are dropped, above all managedFields and pod templates.
"""

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from autodidact_operator.cluster import labels
from autodidact_operator.cluster.resources import (
    JOBS,
    PODS,
    PROFILES,
    Body,
    Resource,
    RunKey,
    key_of_run,
)

_Location = tuple[str, str]  # Namespace and name.

REMEMBERED_DELETIONS = 8192
"""Deleted UIDs remembered, so that a late event or a LIST under way does not revive them."""

_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
_METADATA_DROPPED = frozenset({"managedFields", "selfLink", "generateName"})
_JOB_STATUS_DROPPED = frozenset({"active", "ready", "terminating", "uncountedTerminatedPods"})
_POD_STATUS_DROPPED = frozenset(
    {"podIP", "podIPs", "hostIP", "hostIPs", "qosClass", "resourceClaimStatuses"}
)
_CONTAINER_DROPPED = frozenset(
    {"containerID", "image", "volumeMounts", "resources", "allocatedResources", "user"}
)
_CONTAINER_LISTS = ("containerStatuses", "initContainerStatuses")


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """All objects that a decision about one run needs. They are the cache's own: never change them.

    Attributes:
        run: The run's object.
        jobs: The Jobs that belong to it, by name.
        pods: The Pods of these Jobs, by name.
        profiles: The `spec` of every ComputeProfile by its name.
    """

    run: Body
    jobs: tuple[Body, ...]
    pods: tuple[Body, ...]
    profiles: Mapping[str, Body]


class Cache:
    """The objects and the indexes over them.

    Args:
        runs: The resources of the kinds of runs.
    """

    def __init__(self, runs: Iterable[Resource]) -> None:
        self._kinds = {resource.kind.lower(): resource.kind for resource in runs}
        self._run_resources = tuple(runs)
        self._objects: dict[str, dict[_Location, Body]] = {
            resource.name: {} for resource in (*self._run_resources, JOBS, PODS, PROFILES)
        }
        self._children: dict[str, dict[str, dict[_Location, Body]]] = {
            JOBS.name: {},
            PODS.name: {},
        }
        self._run_keys: dict[str, RunKey] = {}  # By UID.
        self._deleted: OrderedDict[str, None] = OrderedDict()
        self._profiles: Mapping[str, Body] = MappingProxyType({})

    @property
    def resources(self) -> tuple[Resource, ...]:
        """Everything that is cached."""
        return (*self._run_resources, PROFILES, JOBS, PODS)

    def run_keys(self) -> list[RunKey]:
        """Returns the keys of all runs."""
        return [
            RunKey(resource.kind, *location)
            for resource in self._run_resources
            for location in self._objects[resource.name]
        ]

    def runs(self) -> Iterable[Body]:
        """Returns the objects of all runs."""
        for resource in self._run_resources:
            yield from self._objects[resource.name].values()

    def run_uids(self) -> set[str]:
        """Returns the UIDs of all runs."""
        return set(self._run_keys)

    def key_of(self, run_uid: str) -> RunKey | None:
        """Returns the key of the run of a UID, or None."""
        return self._run_keys.get(run_uid)

    def get(self, resource: Resource, namespace: str, name: str) -> Body | None:
        """Returns one object, or None."""
        return self._objects[resource.name].get((namespace, name))

    def snapshot(self, key: RunKey) -> Snapshot | None:
        """Returns what is known about a run, or None if there is no such run."""
        resource = next((r for r in self._run_resources if r.kind == key.kind), None)
        run = resource and self.get(resource, key.namespace, key.name)
        if not run:
            return None
        return Snapshot(
            run=run,
            jobs=self._of_run(JOBS, run),
            pods=self._of_run(PODS, run),
            profiles=self._profiles,
        )

    def apply(self, resource: Resource, event: str | None, body: Body) -> list[RunKey]:
        """Take in a watch event; returns the runs that are to be looked at again.

        Args:
            resource: What kind of object it is.
            event: `DELETED`, or anything else for an object that exists.
            body: The object, as the API server sent it; it is kept and trimmed in place.
        """
        current = self._objects[resource.name].get(_location(body))
        if event == "DELETED":
            return self._delete(resource, body)
        if body["metadata"]["uid"] in self._deleted or not _is_newer(body, current):
            return []
        if current is not None:
            self._remove(resource, current)  # Its UID or its labels may be others now.
        self._store(resource, body)
        if current is not None and _is_alike(body, current):
            return []
        return self._affected(resource, body)

    def replace(
        self, resource: Resource, items: Iterable[Body], version: str, namespace: str | None = None
    ) -> list[RunKey]:
        """Take in a LIST; returns the runs for which it differs from what was known.

        Objects that are not in the LIST are dropped, unless they are newer than the LIST.

        Args:
            resource: What was listed.
            items: All of them.
            version: The LIST's resourceVersion.
            namespace: Where they were listed; None for the whole cluster.
        """
        affected: dict[RunKey, None] = {}
        listed = set()
        for item in items:
            listed.add(_location(item))
            affected.update(dict.fromkeys(self.apply(resource, "ADDED", item)))
        for location, body in list(self._objects[resource.name].items()):
            foreign = namespace is not None and location[0] != namespace
            if location in listed or foreign or _number(body) > int(version or 0):
                continue
            affected.update(dict.fromkeys(self._delete(resource, body)))
        return list(affected)

    def observe_write(self, resource: Resource, body: Body) -> None:
        """Take in an object as the API server answered to the operator's own write."""
        self.apply(resource, "MODIFIED", body)

    def observe_delete(self, resource: Resource, body: Body) -> None:
        """Take in that the operator deleted an object."""
        self._delete(resource, body)

    def sizes(self) -> dict[str, int]:
        """Returns the number of objects by resource."""
        return {name: len(objects) for name, objects in self._objects.items()}

    def _store(self, resource: Resource, body: Body) -> None:
        trim(resource, body)
        location = _location(body)
        self._objects[resource.name][location] = body
        uid = _run_uid(body)
        if resource.name in self._children and uid:
            self._children[resource.name].setdefault(uid, {})[location] = body
        if resource in self._run_resources:
            body["kind"], body["apiVersion"] = resource.kind, resource.api_version
            self._run_keys[body["metadata"]["uid"]] = key_of_run(body)
        if resource == PROFILES:
            self._index_profiles()

    def _delete(self, resource: Resource, body: Body) -> list[RunKey]:
        """Forget an object and never take it in again; one of the same name but another UID stays."""
        uid = body["metadata"]["uid"]
        self._deleted[uid] = None
        if len(self._deleted) > REMEMBERED_DELETIONS:
            self._deleted.popitem(last=False)
        current = self._objects[resource.name].get(_location(body))
        if current is None or current["metadata"]["uid"] != uid:
            return []
        self._remove(resource, current)
        return self._affected(resource, current)

    def _remove(self, resource: Resource, body: Body) -> None:
        location = _location(body)
        self._objects[resource.name].pop(location, None)
        self._run_keys.pop(body["metadata"]["uid"], None)
        uid = _run_uid(body)
        siblings = self._children.get(resource.name, {}).get(uid)
        if siblings is not None:
            siblings.pop(location, None)
            if not siblings:
                del self._children[resource.name][uid]
        if resource == PROFILES:
            self._index_profiles()

    def _affected(self, resource: Resource, body: Body) -> list[RunKey]:
        """Returns the runs to look at after a change of an object."""
        if resource == PROFILES:
            return self.run_keys()
        if resource in self._run_resources:
            return [RunKey(resource.kind, *_location(body))]
        own = body["metadata"].get("labels") or {}
        kind = self._kinds.get(own.get(labels.KIND, ""))
        name = own.get(labels.RUN)
        return [RunKey(kind, body["metadata"]["namespace"], name)] if kind and name else []

    def _of_run(self, resource: Resource, run: Body) -> tuple[Body, ...]:
        namespace = run["metadata"]["namespace"]
        found = self._children[resource.name].get(run["metadata"]["uid"])
        if not found:
            return ()
        # Labels prove nothing: in another namespace, other users may write any they like.
        return tuple(body for (where, _), body in sorted(found.items()) if where == namespace)

    def _index_profiles(self) -> None:
        profiles = self._objects[PROFILES.name].values()
        self._profiles = MappingProxyType(
            {body["metadata"]["name"]: body.get("spec", {}) for body in profiles}
        )


def trim(resource: Resource, body: Body) -> None:
    """Drop, in place, what no decision reads."""
    metadata = body["metadata"]
    for name in _METADATA_DROPPED:
        metadata.pop(name, None)
    annotations = metadata.get("annotations")
    if annotations:
        annotations.pop(_LAST_APPLIED, None)
    if resource == JOBS:
        _trim_job(body)
    elif resource == PODS:
        _trim_pod(body)


def _trim_job(body: Body) -> None:
    body.get("spec", {}).pop("template", None)
    status = body.get("status") or {}
    for name in _JOB_STATUS_DROPPED:  # They follow the pods, and those events come sooner.
        status.pop(name, None)


def _trim_pod(body: Body) -> None:
    if "deletionTimestamp" not in body["metadata"]:
        # Only on a deleted pod do they matter: there they say whether it counts as failed.
        body["metadata"].pop("finalizers", None)
    body["spec"] = {"nodeName": body.get("spec", {}).get("nodeName")}
    status = body.get("status") or {}
    for name in _POD_STATUS_DROPPED:
        status.pop(name, None)
    for container_list in _CONTAINER_LISTS:
        for container in status.get(container_list) or ():
            for name in _CONTAINER_DROPPED:
                container.pop(name, None)


def _location(body: Body) -> _Location:
    metadata = body["metadata"]
    return metadata.get("namespace", ""), metadata["name"]


def _run_uid(body: Body) -> str:
    return str((body["metadata"].get("labels") or {}).get(labels.RUN_UID, ""))


def _number(body: Body) -> int:
    """Returns the resourceVersion as a number.

    Kubernetes promises since 1.35 that these numbers grow; before, etcd's did.
    """
    return int(body["metadata"].get("resourceVersion") or 0)


def _is_newer(body: Body, current: Body | None) -> bool:
    return current is None or _number(body) > _number(current)


def _is_alike(body: Body, current: Body) -> bool:
    """Returns whether two versions of an object have the same content, as far as it is kept."""
    if any(body.get(part) != current.get(part) for part in ("spec", "status")):
        return False
    version = {"resourceVersion": current["metadata"].get("resourceVersion")}
    return bool({**body["metadata"], **version} == current["metadata"])
