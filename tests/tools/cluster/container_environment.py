"""A container's environment and command line, as the kubelet makes them."""

import re
from collections.abc import Mapping

from tools.cluster.api import JsonObject
from tools.cluster.fields import field_value, resource_value
from tools.cluster.pod_inputs import NotReadyError, PodInputs

_REFERENCE = re.compile(r"\$\$|\$\(([A-Za-z_][A-Za-z0-9_.-]*)\)")


async def container_variables(
    pod: JsonObject, container: JsonObject, inputs: PodInputs, known: Mapping[str, str]
) -> dict[str, str]:
    """Return a container's `envFrom` and `env`, references to earlier variables expanded.

    Args:
        pod: The pod, with what its status shows through the downward API.
        container: One of its containers.
        inputs: Where ConfigMaps and Secrets come from.
        known: Variables that references may name besides the container's own.

    Raises:
        NotReadyError: If a ConfigMap, Secret or key does not exist.
    """
    variables: dict[str, str] = {}
    for source in container.get("envFrom") or []:
        variables |= await _all_keys(source, inputs)
    for entry in container.get("env") or []:
        if "valueFrom" in entry:
            value = await _referenced(pod, container, entry["valueFrom"], inputs)
        else:
            value = expand(entry.get("value") or "", {**known, **variables})
        if value is not None:
            variables[entry["name"]] = value
    return variables


def expand(text: str, variables: Mapping[str, str]) -> str:
    """Replace `$(NAME)` by known variables; `$$` is a dollar, unknown names stay."""

    def value(match: re.Match[str]) -> str:
        if match[0] == "$$":
            return "$"
        return variables.get(match[1], match[0])

    return _REFERENCE.sub(value, text)


async def _all_keys(source: JsonObject, inputs: PodInputs) -> dict[str, str]:
    prefix = source.get("prefix") or ""
    try:
        if "secretRef" in source:
            reference = source["secretRef"]
            data = await inputs.secret(reference["name"], optional=bool(reference.get("optional")))
        else:
            reference = source["configMapRef"]
            data = await inputs.config_map(
                reference["name"], optional=bool(reference.get("optional"))
            )
    except NotReadyError as error:
        raise NotReadyError("CreateContainerConfigError", str(error)) from error
    return {prefix + key: value.decode() for key, value in data.items()}


async def _referenced(
    pod: JsonObject, container: JsonObject, source: JsonObject, inputs: PodInputs
) -> str | None:
    if "fieldRef" in source:
        return field_value(pod, source["fieldRef"]["fieldPath"])
    if "resourceFieldRef" in source:
        return resource_value(container, source["resourceFieldRef"])
    kind = "secretKeyRef" if "secretKeyRef" in source else "configMapKeyRef"
    reference = source[kind]
    optional = bool(reference.get("optional"))
    read = inputs.secret if kind == "secretKeyRef" else inputs.config_map
    try:
        data = await read(reference["name"], optional=optional)
    except NotReadyError as error:
        raise NotReadyError("CreateContainerConfigError", str(error)) from error
    if reference["key"] in data:
        return data[reference["key"]].decode()
    if optional:
        return None
    message = f"couldn't find key {reference['key']} in {kind[:-6]} {reference['name']}"
    raise NotReadyError("CreateContainerConfigError", message)
