"""From a container's specification to the process that stands for it."""

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from tools.cluster import kubeconfig
from tools.cluster.api import JsonObject
from tools.cluster.container import Launch
from tools.cluster.container_environment import container_variables, expand
from tools.cluster.node_settings import NodeSettings
from tools.cluster.paths import PathMap
from tools.cluster.pod_inputs import NotReadyError, PodInputs
from tools.cluster.service_names import ServiceNames
from tools.cluster.volumes import Volumes

ACCOUNT_MOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"
# A path inside the container, where an emptyDir may be mounted.
_SCRATCH = "/tmp"  # noqa: S108
_MESSAGE_PATH = "/dev/termination-log"
_SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True, kw_only=True)
class Launcher:
    """Works out how to run the containers of one pod.

    Attributes:
        settings: The node's.
        server: The API server's URL, for containers with a service account's token.
        authority: File of the certificate that signs the API server's.
        pod: The pod, with what its status shows through the downward API.
        directory: The pod's directory on the node.
        volumes: The pod's volumes.
        inputs: The pod's ConfigMaps, Secrets and tokens.
        names: Where Services are.
    """

    settings: NodeSettings
    server: str
    authority: Path
    pod: JsonObject
    directory: Path
    volumes: Volumes
    inputs: PodInputs
    names: ServiceNames

    def log_file(self, container: str, attempt: int) -> Path:
        """Return where a run of a container writes its output."""
        return self.directory / "logs" / container / f"{attempt}.log"

    async def launch(self, container: JsonObject, attempt: int) -> Launch:
        """Return everything needed to run a container.

        Raises:
            NotReadyError: If its image or something its environment refers to is not there.
        """
        self._check_image(container)
        message_file = self.directory / "messages" / container["name"]
        paths = PathMap(
            {
                container.get("terminationMessagePath") or _MESSAGE_PATH: message_file,
                **self.volumes.mounts(container),
            }
        )
        basis = self._basis(paths)
        # As with the kubelet, references see the container's variables and the services'.
        services = {name: v for name, v in basis.items() if name.startswith("KUBERNETES_")}
        variables = await container_variables(self.pod, container, self.inputs, services)
        known = {**services, **variables}
        command = [expand(part, known) for part in self._command(container)]
        policy = container.get("terminationMessagePolicy")
        return Launch(
            command=[await self._rewrite(part, paths) for part in command],
            environment=basis
            | {name: await self._rewrite(value, paths) for name, value in variables.items()},
            directory=self._working_directory(container, paths),
            log=self.log_file(container["name"], attempt),
            message_file=message_file,
            message_from_log=policy == "FallbackToLogsOnError",
        )

    async def _rewrite(self, text: str, paths: PathMap) -> str:
        return await self.names.rewrite(paths.rewrite(text), self.pod)

    def _check_image(self, container: JsonObject) -> None:
        image = container.get("image", "")
        if any(part in image for part in self.settings.broken_images):
            message = f'failed to pull and unpack image "{image}": not found'
            raise NotReadyError("ErrImagePull", message)

    def _command(self, container: JsonObject) -> list[str]:
        command = container.get("command") or self._entrypoint(container.get("image", ""))
        if not command:
            message = "the process node has no images: name a command or give an entrypoint"
            raise NotReadyError("CreateContainerError", f"{container.get('image')}: {message}")
        return [*command, *(container.get("args") or [])]

    def _entrypoint(self, image: str) -> list[str]:
        for part, command in self.settings.entrypoints.items():
            if part in image:
                return command
        return []

    def _basis(self, paths: PathMap) -> dict[str, str]:
        """Return the variables a container has before its own; nothing comes from the host."""
        home, scratch = self.directory / "home", paths.place(_SCRATCH) or self.directory / "tmp"
        for directory in (home, scratch):
            directory.mkdir(parents=True, exist_ok=True)
        api = urlsplit(self.server)
        basis = {
            "PATH": f"{self.settings.path}:{_SYSTEM_PATH}",
            "LANG": "C.UTF-8",
            "HOME": str(home),
            "TMPDIR": str(scratch),
            "HOSTNAME": self.pod["spec"].get("hostname") or self.pod["metadata"]["name"],
            "KUBERNETES_SERVICE_HOST": str(api.hostname),
            "KUBERNETES_SERVICE_PORT": str(api.port),
            **self.settings.environment,
        }
        account = paths.place(ACCOUNT_MOUNT)
        if account is not None:
            basis["KUBECONFIG"] = str(self._account_kubeconfig(account))
        return basis

    def _account_kubeconfig(self, account: Path) -> Path:
        # Programs that look for the token at its fixed path do not find it; nearly all of them
        # fall back to a kubeconfig.
        return kubeconfig.write_for_token_file(
            self.directory / "kubeconfig",
            self.server,
            self.authority,
            account / "token",
            self.pod["metadata"]["namespace"],
        )

    def _working_directory(self, container: JsonObject, paths: PathMap) -> Path:
        wanted = container.get("workingDir")
        if wanted:
            place = Path(paths.rewrite(wanted))
            if place.is_dir():
                return place
        place = self.directory / "work"
        place.mkdir(parents=True, exist_ok=True)
        return place
