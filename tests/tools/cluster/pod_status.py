"""A pod's status, computed from the state of its containers."""

from dataclasses import dataclass, field

from tools.cluster.api import JsonObject
from tools.cluster.outcomes import Ending, timestamp


@dataclass
class ContainerState:
    """What is known of one container; the pod's runner changes it."""

    name: str
    image: str
    waiting_reason: str = "ContainerCreating"
    waiting_message: str = ""
    started_at: str = ""
    ready: bool = False
    restarts: int = 0
    ending: Ending | None = None
    last_ending: Ending | None = None

    def wait_for(self, reason: str, message: str = "") -> None:
        """Note that the container waits, and for what."""
        if self.ending is not None:
            self.last_ending, self.ending = self.ending, None
        self.waiting_reason, self.waiting_message = reason, message
        self.started_at, self.ready = "", False

    def run(self, started_at: str, *, ready: bool) -> None:
        """Note that the container runs."""
        if self.ending is not None:
            self.last_ending, self.ending = self.ending, None
        self.started_at, self.ready = started_at, ready

    def end(self, ending: Ending) -> None:
        """Note that the container ended."""
        self.ending, self.started_at, self.ready = ending, "", False

    def as_status(self, *, init: bool) -> JsonObject:
        """Return the container's entry in the pod's status."""
        status: JsonObject = {
            "name": self.name,
            "image": self.image,
            "imageID": "",
            "restartCount": self.restarts,
            "ready": self.ready or (init and self.ending is not None),
            "started": bool(self.started_at),
            "state": self._state(),
            "lastState": self.last_ending.as_state() if self.last_ending else {},
        }
        if self.started_at or self.ending:
            status["containerID"] = f"process://{self.name}-{self.restarts}"
        return status

    def _state(self) -> JsonObject:
        if self.ending is not None:
            return self.ending.as_state()
        if self.started_at:
            return {"running": {"startedAt": self.started_at}}
        waiting = {"reason": self.waiting_reason}
        if self.waiting_message:
            waiting["message"] = self.waiting_message
        return {"waiting": waiting}


@dataclass
class PodState:
    """What is known of one pod.

    Attributes:
        phase: The pod's phase.
        reason: Why the pod as a whole failed, such as `DeadlineExceeded`.
    """

    pod_ip: str
    host_ip: str
    init_containers: list[ContainerState]
    containers: list[ContainerState]
    phase: str = "Pending"
    reason: str = ""
    message: str = ""
    start_time: str = field(default_factory=timestamp)
    _conditions: dict[str, JsonObject] = field(default_factory=dict)

    @property
    def terminal(self) -> bool:
        """Whether the pod has come to its end."""
        return self.phase in ("Succeeded", "Failed")

    def finish(self) -> None:
        """Set the terminal phase by how the containers ended."""
        every = [*self.init_containers, *self.containers]
        codes = [c.ending.exit_code if c.ending else 1 for c in every]
        if self.reason or any(codes):
            self.phase = "Failed"
        else:
            self.phase = "Succeeded"

    def as_status(self) -> JsonObject:
        """Return the pod's status as a strategic merge patch takes it."""
        status: JsonObject = {
            "phase": self.phase,
            "startTime": self.start_time,
            "hostIP": self.host_ip,
            "hostIPs": [{"ip": self.host_ip}],
            "podIP": self.pod_ip,
            "podIPs": [{"ip": self.pod_ip}],
            "containerStatuses": [c.as_status(init=False) for c in self.containers],
            "conditions": self._current_conditions(),
        }
        if self.init_containers:
            states = [c.as_status(init=True) for c in self.init_containers]
            status["initContainerStatuses"] = states
        if self.reason:
            status |= {"reason": self.reason, "message": self.message}
        return status

    def _current_conditions(self) -> list[JsonObject]:
        initialized = all(c.ending and not c.ending.exit_code for c in self.init_containers)
        ready = not self.terminal and all(c.ready for c in self.containers)
        why = {} if ready else {"reason": "ContainersNotReady"}
        if self.phase == "Succeeded":
            why = {"reason": "PodCompleted"}
        self._set("PodReadyToStartContainers", not self.terminal, {})
        self._set("Initialized", initialized, {} if initialized else why)
        self._set("ContainersReady", ready, why)
        self._set("Ready", ready, why)
        return list(self._conditions.values())

    def _set(self, kind: str, holds: bool, details: JsonObject) -> None:
        status = "True" if holds else "False"
        known = self._conditions.get(kind, {})
        changed = known.get("status") != status
        since = timestamp() if changed else known["lastTransitionTime"]
        condition = {"type": kind, "status": status, "lastTransitionTime": since}
        self._conditions[kind] = condition | details
