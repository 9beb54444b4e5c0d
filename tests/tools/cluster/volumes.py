"""A pod's volumes as directories of the node.

Known kinds: emptyDir, configMap, secret, projected, downwardAPI and hostPath.
Content that comes from the API is refreshed while the pod runs and replaced as a whole, by the
kubelet's own way: files are links through `..data`, which is renamed over.
"""

import asyncio
import logging
import shutil
import time
from pathlib import Path

from tools.cluster.api import JsonObject
from tools.cluster.fields import field_value, resource_value
from tools.cluster.pod_inputs import NotReadyError, PodInputs

_DEFAULT_MODE = 0o644
_log = logging.getLogger(__name__)


class Volumes:
    """Materialises one pod's volumes under a directory.

    Args:
        pod: The pod, with what its status shows through the downward API.
        directory: Where each volume gets a directory of its name.
        inputs: Where content of the API comes from.
    """

    def __init__(self, pod: JsonObject, directory: Path, inputs: PodInputs) -> None:
        self._pod = pod
        self._directory = directory
        self._inputs = inputs
        self._volumes = {volume["name"]: volume for volume in pod["spec"].get("volumes") or []}
        self._written: dict[str, dict[str, bytes]] = {}

    async def prepare(self) -> None:
        """Create every volume with its content.

        Raises:
            NotReadyError: If an object or token cannot be had; calling again goes on.
        """
        for name, volume in self._volumes.items():
            if "hostPath" in volume:
                if volume["hostPath"].get("type") == "DirectoryOrCreate":
                    self.place(name).mkdir(parents=True, exist_ok=True)
                continue
            self.place(name).mkdir(parents=True, exist_ok=True)
            if "emptyDir" not in volume:
                await self._write(name, volume)

    async def refresh(self, interval_s: float) -> None:
        """Bring content that comes from the API up to date again and again."""
        living = {name: v for name, v in self._volumes.items() if _comes_from_api(v)}
        while living:
            await asyncio.sleep(interval_s)
            for name, volume in living.items():
                try:
                    await self._write(name, volume)
                except NotReadyError as error:
                    _log.warning("volume %s is not refreshed: %s", name, error)

    def place(self, name: str) -> Path:
        """Return the directory of a volume."""
        host_path = self._volumes[name].get("hostPath")
        return Path(host_path["path"]) if host_path else self._directory / name

    def mounts(self, container: JsonObject) -> dict[str, Path]:
        """Return the host path of each of a container's mount paths."""
        places = {}
        for mount in container.get("volumeMounts") or []:
            place = self.place(mount["name"])
            if mount.get("subPath"):
                place = place / mount["subPath"]
                if "emptyDir" in self._volumes[mount["name"]]:
                    place.mkdir(parents=True, exist_ok=True)
            places[mount["mountPath"]] = place
        return places

    async def _write(self, name: str, volume: JsonObject) -> None:
        try:
            files = await self._content(volume)
        except NotReadyError as error:
            message = f'MountVolume.SetUp failed for volume "{name}" : {error}'
            raise NotReadyError("FailedMount", message) from error
        if files != self._written.get(name):
            _replace(self.place(name), files, _mode(volume))
            self._written[name] = files

    async def _content(self, volume: JsonObject) -> dict[str, bytes]:
        if "projected" in volume:
            files: dict[str, bytes] = {}
            for source in volume["projected"].get("sources") or []:
                files |= await self._source(source)
            return files
        return await self._source(volume)

    async def _source(self, source: JsonObject) -> dict[str, bytes]:
        if "configMap" in source:
            return await self._object(source["configMap"], "config_map")
        if "secret" in source:
            return await self._object(source["secret"], "secret")
        if "serviceAccountToken" in source:
            wanted = source["serviceAccountToken"]
            audience, lifetime_s = wanted.get("audience", ""), wanted.get("expirationSeconds")
            return {wanted["path"]: await self._inputs.token(audience, lifetime_s)}
        if "downwardAPI" in source:
            items = source["downwardAPI"].get("items") or []
            return {item["path"]: self._downward(item).encode() for item in items}
        kinds = ", ".join(key for key in source if key != "name")
        raise NotReadyError("FailedMount", f"the process node has no volumes of kind {kinds}")

    async def _object(self, source: JsonObject, kind: str) -> dict[str, bytes]:
        name = source.get("secretName") or source["name"]
        optional = bool(source.get("optional"))
        read = self._inputs.secret if kind == "secret" else self._inputs.config_map
        data = await read(name, optional=optional)
        if not source.get("items"):
            return data
        absent = [item["key"] for item in source["items"] if item["key"] not in data]
        if absent and not optional:
            raise NotReadyError("FailedMount", f"{kind} {name} has no key {', '.join(absent)}")
        return {i["path"]: data[i["key"]] for i in source["items"] if i["key"] in data}

    def _downward(self, item: JsonObject) -> str:
        if "fieldRef" in item:
            return field_value(self._pod, item["fieldRef"]["fieldPath"])
        reference = item["resourceFieldRef"]
        containers = self._pod["spec"]["containers"]
        container = next(c for c in containers if c["name"] == reference["containerName"])
        return resource_value(container, reference)


def _comes_from_api(volume: JsonObject) -> bool:
    return any(kind in volume for kind in ("configMap", "secret", "projected"))


def _mode(volume: JsonObject) -> int:
    for kind in ("configMap", "secret", "projected", "downwardAPI"):
        if kind in volume:
            return volume[kind].get("defaultMode") or _DEFAULT_MODE
    return _DEFAULT_MODE


def _replace(directory: Path, files: dict[str, bytes], mode: int) -> None:
    version = directory / f"..{time.time_ns()}"
    for relative, content in files.items():
        path = version / relative
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
        path.write_bytes(content)
        path.chmod(mode)
    version.mkdir(exist_ok=True)
    data = directory / "..data"
    previous = data.resolve() if data.is_symlink() else None
    link = directory / "..data_tmp"
    link.symlink_to(version.name)
    link.replace(data)
    _link_names(directory, {Path(relative).parts[0] for relative in files})
    if previous is not None:
        shutil.rmtree(previous, ignore_errors=True)


def _link_names(directory: Path, names: set[str]) -> None:
    for name in names:
        link = directory / name
        if not link.is_symlink():
            link.symlink_to(Path("..data") / name)
    for link in directory.iterdir():
        if link.is_symlink() and not link.name.startswith("..") and link.name not in names:
            link.unlink()
