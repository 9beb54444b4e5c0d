"""A real node: containerd, kubelet, kube-proxy and CoreDNS on a machine of their own.

    with Machine() as machine, Cluster(options=Options(address=machine.outside)) as cluster:
        node = RealNode(machine, cluster, images)
        node.start()
        node.serve_dns()

Further nodes are started likewise, on machines that are connected to all others; one of them serves
DNS. The images of its pods are those that `images.ImageStore` has imported; nothing is ever pulled,
and there is no way from its pods to any other network.
"""

import contextlib
import json
from typing import Any

import psutil

from tools.cluster import tools
from tools.cluster.control_plane import Cluster
from tools.cluster.processes import Process
from tools.node.configuration import DNS_ADDRESS, NodeFiles
from tools.node.containerd import ImageStore
from tools.node.machine import Machine

NODE_PROGRAMS = tools.Module(
    name="node",
    binaries={name: name for name in ("kubelet", "kube-proxy")},
    expected="2 minutes",
    variables=tools.KUBERNETES_VARIABLES,
)
DNS_SERVER = tools.Module(name="coredns", binaries={"coredns": "coredns"}, expected="5 minutes")


class RealNode:
    """One node of a cluster.

    Args:
        machine: Where it lives.
        cluster: What it joins; its API server must listen at the machine's outside address.
        images: The images it has.

    Attributes:
        name: The Node's name.
    """

    def __init__(self, machine: Machine, cluster: Cluster, images: ImageStore) -> None:
        self._machine = machine
        self._cluster = cluster
        self._images = images
        self.name = f"node-{machine.slot}"
        programs = tools.build(NODE_PROGRAMS)
        self._kubelet_program, self._proxy_program = programs / "kubelet", programs / "kube-proxy"
        self._dns_program = tools.build(DNS_SERVER) / "coredns"
        self._files = self._name_files()
        self._kubelet: Process | None = None

    def start(self) -> None:
        """Starts everything but DNS; returns when the node is Ready."""
        self._files.write()
        self._images.serve(self._files.containerd)
        self._machine.start(
            "kube-proxy",
            [
                self._proxy_program,
                f"--config={self._files.proxy}",
                f"--hostname-override={self.name}",
            ],
        )
        self.start_kubelet()

    def serve_dns(self) -> None:
        """Answers for the names of all Services of the cluster."""
        self._publish_dns()
        self._machine.start("coredns", [self._dns_program, "-conf", self._files.dns])

    def start_kubelet(self) -> None:
        """Starts the kubelet, also one that was killed; returns when the node is Ready."""
        self._kubelet = self._machine.start("kubelet", self._kubelet_command())
        self._kubelet.wait_until(self._is_ready)

    def kill_kubelet(self) -> None:
        """Ends the kubelet at once; its pods go on, unseen."""
        if self._kubelet is not None:
            self._kubelet.stop(grace_s=0.0)
            self._kubelet = None

    def process(self, **environment: str) -> psutil.Process | None:
        """Returns the first of its programs with these variables, None while there is none."""
        for process in self._machine.processes():
            with contextlib.suppress(psutil.Error):
                if environment.items() <= process.environ().items():
                    return process
        return None

    def _kubelet_command(self) -> list[Any]:
        return [
            self._kubelet_program,
            f"--config={self._files.kubelet}",
            f"--kubeconfig={self._files.kubelet_config}",
            f"--hostname-override={self.name}",
            f"--node-ip={self._machine.address}",
        ]

    def _name_files(self) -> NodeFiles:
        user = f"system:node:{self.name}"
        serving = self._cluster.issue_certificate(
            f"{self.name}-serving", user, "system:nodes", self._machine.address
        )
        return NodeFiles(
            directory=self._machine.directory,
            images=self._images.directory,
            pod_addresses=self._machine.pod_addresses,
            cgroup=self._machine.cgroup,
            address=self._machine.address,
            authority=self._cluster.certificate_authority,
            certificate=serving.certificate,
            key=serving.key,
            kubelet_config=self._cluster.write_kubeconfig(self.name, user, "system:nodes"),
            proxy_config=self._cluster.write_kubeconfig(f"{self.name}-proxy", "system:kube-proxy"),
            dns_config=self._cluster.write_kubeconfig(f"{self.name}-dns", "system:coredns"),
        )

    def _publish_dns(self) -> None:
        place = {"namespace": "kube-system"}
        ports = [{"name": p.lower(), "port": 53, "protocol": p} for p in ("UDP", "TCP")]
        self._cluster.apply(
            {
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": {"name": "kube-dns", **place},
                "spec": {"clusterIP": DNS_ADDRESS, "ports": ports},
            },
            {
                "apiVersion": "discovery.k8s.io/v1",
                "kind": "EndpointSlice",
                "metadata": {
                    "name": "kube-dns-outside",
                    "labels": {"kubernetes.io/service-name": "kube-dns"},
                    **place,
                },
                "addressType": "IPv4",
                "ports": ports,
                "endpoints": [{"addresses": [self._machine.address]}],
            },
            {
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "kind": "ClusterRole",
                "metadata": {"name": "coredns"},
                "rules": [
                    {
                        "apiGroups": [""],
                        "resources": ["namespaces", "pods", "services"],
                        "verbs": ["list", "watch"],
                    },
                    {
                        "apiGroups": ["discovery.k8s.io"],
                        "resources": ["endpointslices"],
                        "verbs": ["list", "watch"],
                    },
                ],
            },
            {
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "kind": "ClusterRoleBinding",
                "metadata": {"name": "coredns"},
                "roleRef": {
                    "apiGroup": "rbac.authorization.k8s.io",
                    "kind": "ClusterRole",
                    "name": "coredns",
                },
                "subjects": [{"kind": "User", "name": "system:coredns"}],
            },
        )

    def _is_ready(self) -> bool:
        text = self._cluster.kubectl("get", "node", self.name, "--ignore-not-found", "-o", "json")
        if not text:
            return False
        node = json.loads(text)
        conditions = {c["type"]: c["status"] for c in node["status"].get("conditions", [])}
        return conditions.get("Ready") == "True" and not node["spec"].get("taints")
