"""Configuration files of a node's programs, from what differs between nodes."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools.node.packages import CNI_PLUGINS

DNS_ADDRESS = "10.96.0.10"
DOMAIN = "cluster.local"
PAUSE_IMAGE = "localhost/autodidact/pause:1"
SOCKET = "/run/containerd/containerd.sock"
PIDS_PER_POD = 4096
LEASE_S = 12
"""A kubelet renews its Lease four times in this time."""


@dataclass(frozen=True, kw_only=True)
class NodeFiles:
    """Writes a node's files into one directory and knows where they are.

    Attributes:
        directory: Where they go.
        images: Where containerd keeps images from one node to the next.
        pod_addresses: Addresses for pods, as a CIDR.
        cgroup: Parent of the pods' cgroups.
        authority: The certificate that signs the API server's client certificates.
        certificate: The kubelet's serving certificate.
        key: Its key.
        kubelet_config: Kubeconfig of the kubelet.
        proxy_config: Kubeconfig of kube-proxy.
        dns_config: Kubeconfig of CoreDNS.
        address: The node's.
    """

    directory: Path
    images: Path
    pod_addresses: str
    cgroup: str
    authority: Path
    certificate: Path
    key: Path
    kubelet_config: Path
    proxy_config: Path
    dns_config: Path
    address: str

    def write(self) -> None:
        """Writes everything."""
        self.network_directory.mkdir(exist_ok=True)
        _write_json(self.network_directory / "10-pods.conflist", self._network())
        self.containerd.write_text(containerd(self.images, self.network_directory))
        _write_json(self.kubelet, self._kubelet())
        _write_json(self.proxy, self._proxy())
        self.dns.write_text(self._dns())

    @property
    def network_directory(self) -> Path:
        """Directory of the container network's configuration."""
        return self.directory / "cni"

    @property
    def containerd(self) -> Path:
        """Configuration of containerd."""
        return self.directory / "containerd.toml"

    @property
    def kubelet(self) -> Path:
        """Configuration of the kubelet."""
        return self.directory / "kubelet.json"

    @property
    def proxy(self) -> Path:
        """Configuration of kube-proxy."""
        return self.directory / "kube-proxy.json"

    @property
    def dns(self) -> Path:
        """Configuration of CoreDNS."""
        return self.directory / "Corefile"

    def _network(self) -> dict[str, Any]:
        # Every packet of a pod is routed, none is bridged, so Services work between pods of a node
        # without the kernel's bridge filter.
        return {
            "cniVersion": "1.0.0",
            "name": "pods",
            "plugins": [
                {
                    "type": "ptp",
                    "ipMasq": True,
                    "ipam": {
                        "type": "host-local",
                        "ranges": [[{"subnet": self.pod_addresses}]],
                        "routes": [{"dst": "0.0.0.0/0"}],
                    },
                },
                {"type": "portmap", "capabilities": {"portMappings": True}},
            ],
        }

    def _kubelet(self) -> dict[str, Any]:
        return {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "authentication": {
                "anonymous": {"enabled": False},
                "webhook": {"enabled": True},
                "x509": {"clientCAFile": str(self.authority)},
            },
            "authorization": {"mode": "Webhook"},
            "tlsCertFile": str(self.certificate),
            "tlsPrivateKeyFile": str(self.key),
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": self.cgroup,
            "failCgroupV1": False,
            "failSwapOn": False,
            # Only a process with CAP_SYS_RESOURCE may lower it.
            "oomScoreAdj": 0,
            "containerRuntimeEndpoint": f"unix://{SOCKET}",
            "clusterDNS": [DNS_ADDRESS],
            "clusterDomain": DOMAIN,
            # Pods see no name of this machine's network.
            "resolvConf": "",
            "podPidsLimit": PIDS_PER_POD,
            # How full this machine's disk is, is its owner's business.
            "evictionHard": {"memory.available": "100Mi"},
            "imageGCHighThresholdPercent": 100,
            "imageGCLowThresholdPercent": 99,
            # The first Lease and the first status come at once, later ones soon.
            "nodeStatusUpdateFrequency": "5s",
            "nodeLeaseDurationSeconds": LEASE_S,
            "registryPullQPS": 0,
            "eventRecordQPS": 0,
        }

    def _proxy(self) -> dict[str, Any]:
        return {
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
            "kind": "KubeProxyConfiguration",
            "clientConnection": {"kubeconfig": str(self.proxy_config)},
            "mode": "iptables",
            "clusterCIDR": self.pod_addresses,
            # The tables' size belongs to the whole machine, not to this namespace.
            "conntrack": {
                "maxPerCore": 0,
                "min": 0,
                "tcpEstablishedTimeout": "0s",
                "tcpCloseWaitTimeout": "0s",
            },
            "oomScoreAdj": 0,
            "iptables": {"minSyncPeriod": "100ms"},
        }

    def _dns(self) -> str:
        # Short times to live and no memory of failures: a restarted pod has another address.
        return f"""\
.:53 {{
    bind {self.address}
    errors
    ready {self.address}:8181
    kubernetes {DOMAIN} in-addr.arpa {{
        kubeconfig {self.dns_config}
        ttl 5
    }}
    cache 5 {{
        denial 0
    }}
}}
"""


def containerd(images: Path, network: Path) -> str:
    """Returns containerd's configuration.

    Args:
        images: Its root directory.
        network: Directory of the container network's configuration.
    """
    runtime = 'plugins."io.containerd.grpc.v1.cri"'
    return f"""\
version = 2
root = "{images}"
state = "/run/containerd"

[grpc]
address = "{SOCKET}"

[{runtime}]
sandbox_image = "{PAUSE_IMAGE}"
# Root in a container or a virtual machine may lack CAP_SYS_RESOURCE.
restrict_oom_score_adj = true

[{runtime}.cni]
bin_dir = "{CNI_PLUGINS}"
conf_dir = "{network}"
max_conf_num = 1

[{runtime}.containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"

[{runtime}.containerd.runtimes.runc.options]
SystemdCgroup = false
"""


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2))
