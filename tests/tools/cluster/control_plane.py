"""A Kubernetes control plane and MinIO as processes in one directory.

`with Cluster() as cluster:` gives a working API server in a few seconds; `cluster.kubeconfig` is
an administrator's.
Everything listens on free loopback ports, so any number of clusters can run side by side, and ends
when the `with` ends or when this process dies.
There is no node until `add_node` starts one.

Not emulated: Services have addresses but nothing routes to them, and there is no cluster DNS; the
process node makes up for it where it can.
"""

import json
import os
import shutil
import ssl
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.error import URLError
from urllib.request import urlopen

from tools.cluster import audit, kubeconfig, tools
from tools.cluster.api import Api, eviction
from tools.cluster.certificates import Authority, KeyPair
from tools.cluster.node_process import NodeProcess
from tools.cluster.node_settings import NodeSettings
from tools.cluster.object_store import ObjectStore
from tools.cluster.processes import Keeper, PortTakenError, Process, ProcessError, free_ports

SERVICE_ADDRESSES = "10.96.0.0/16"
_FIRST_SERVICE_ADDRESS = "10.96.0.1"
_START_ATTEMPTS = 3
_LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, kw_only=True)
class Options:
    """What can be asked of a control plane beyond the defaults.

    Attributes:
        fast: Lift the client limits of the controller manager and the scheduler, without which a
            fifty-run load measures them instead of the operator.
        address: Where the API server listens and what it tells pods; an address other than the
            loopback's lets nodes reach it that have a network of their own.
        audit_rules: Audit policy rules that come before the usual ones.
        api_server_arguments: Further arguments of kube-apiserver.
        controller_manager_arguments: Further arguments of kube-controller-manager.
        scheduler_arguments: Further arguments of kube-scheduler.
    """

    fast: bool = False
    address: str = _LOOPBACK
    audit_rules: Sequence[dict[str, Any]] = ()
    api_server_arguments: Sequence[str] = ()
    controller_manager_arguments: Sequence[str] = ()
    scheduler_arguments: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True)
class _Ports:
    etcd: int
    etcd_peer: int
    api: int
    controller_manager: int
    scheduler: int

    @classmethod
    def choose(cls) -> Self:
        etcd, peer, api, manager, scheduler = free_ports(5)
        return cls(
            etcd=etcd, etcd_peer=peer, api=api, controller_manager=manager, scheduler=scheduler
        )


class Cluster:
    """The processes of one development cluster.

    Args:
        directory: Where all files go; by default a temporary directory, removed at the end.
        options: See `Options`.
        progress: Receives a line for each slow step.

    Attributes:
        directory: As above.
        kubeconfig: An administrator's kubeconfig.
        audit_log: The API server's audit log; read it with `audit.read`.
        minio: The object store.
    """

    def __init__(
        self,
        directory: Path | None = None,
        options: Options | None = None,
        progress: tools.Progress = tools.print_progress,
    ) -> None:
        self._options = options or Options()
        self._progress = progress
        self._temporary = directory is None
        self.directory = directory or Path(tempfile.mkdtemp(prefix="autodidact-cluster-"))
        self.kubeconfig = self.directory / "admin.kubeconfig"
        self.audit_log = self.directory / "audit.log"
        self.nodes: dict[str, NodeProcess] = {}

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start everything; return when the API server, the controllers and MinIO answer.

        Raises:
            FileExistsError: If the directory holds something already.
            ProcessError: If something does not start; the message holds the end of its log.
        """
        self._binaries = tools.build_all(self._progress)
        if self.directory.is_dir() and any(self.directory.iterdir()):
            raise FileExistsError(f"{self.directory} is not empty; a cluster starts from nothing")
        self._keeper = Keeper(self.directory, remove=self._temporary)
        try:
            self._prepare_files()
            self._start_with_free_ports()
        except BaseException:
            self._keeper.close()
            raise

    def stop(self) -> None:
        """End every process; a temporary directory goes away too."""
        self._keeper.close()

    @property
    def api_url(self) -> str:
        """The API server's URL."""
        return f"https://{self._options.address}:{self._ports.api}"

    def api(self, user_agent: str = "cluster") -> Api:
        """Return an administrator's client, for `async with`."""
        return Api.from_kubeconfig(self.kubeconfig, user_agent)

    @property
    def environment(self) -> dict[str, str]:
        """What a command needs in its environment to work with this cluster alone."""
        kinds = ("CACHE", "CONFIG", "DATA")
        return {
            "KUBECONFIG": str(self.kubeconfig),
            "KUBECACHEDIR": str(self.directory / "kubectl-cache"),
            "KUBERC": "off",
            **{f"HELM_{kind}_HOME": str(self.directory / "helm" / kind.lower()) for kind in kinds},
        }

    def kubectl(self, *arguments: str, input_text: str | None = None, check: bool = True) -> str:
        """Run kubectl as the administrator and return what it printed.

        Raises:
            ProcessError: If it fails and `check` is set; the message holds its errors.
        """
        return self._run("kubectl", arguments, input_text, check)

    def helm(self, *arguments: str, input_text: str | None = None, check: bool = True) -> str:
        """Run Helm with homes of its own in the cluster's directory; like `kubectl`."""
        return self._run("helm", arguments, input_text, check)

    def tool(self, name: str) -> Path:
        """Return the path of one of the cluster's programs, such as `kubectl`."""
        return self._binaries[name]

    def create_namespace(self, name: str) -> None:
        """Create a namespace; return when pods can be created in it."""
        self.kubectl("create", "namespace", name)
        account = "serviceaccount/default"
        self.kubectl("-n", name, "wait", "--for=create", account, "--timeout=30s")

    def get(self, kind: str, name: str = "", namespace: str = "") -> dict[str, Any]:
        """Return an object, or a list of all of a kind, as the administrator sees it."""
        place = ("--namespace", namespace) if namespace else ()
        named = (name,) if name else ()
        text = self.kubectl("get", kind, *named, *place, "--output=json")
        found: dict[str, Any] = json.loads(text)
        return found

    def apply(self, *manifests: dict[str, Any]) -> None:
        """Apply manifests, which name their own namespaces."""
        self.kubectl("apply", "-f", "-", input_text="\n".join(map(json.dumps, manifests)))

    def evict(self, namespace: str, pod: str) -> None:
        """Evict a pod by the Eviction API, as a drain does; it gets DisruptionTarget."""
        path = f"/api/v1/namespaces/{namespace}/pods/{pod}/eviction"
        self.kubectl("create", "--raw", path, "-f", "-", input_text=json.dumps(eviction(pod)))

    def kill_minio(self) -> None:
        """Stop the object store at once, as a power cut would."""
        self.minio.kill()

    def start_minio(self) -> None:
        """Bring the object store back on the same port with its data."""
        self.minio.start()

    def restart_api_server(self) -> None:
        """Kill the API server and bring it back on the same port; watches break."""
        self._api_server.stop(grace_s=0.0)
        self._start_api_server()
        self._api_server.wait_until(self._api_server_is_ready)

    def add_node(self, settings: NodeSettings | None = None) -> NodeProcess:
        """Start a process node in a process of its own; return when it is Ready."""
        node = NodeProcess(self, self._keeper, settings or NodeSettings())
        self.nodes[node.name] = node
        node.start()
        return node

    def issue_certificate(
        self, name: str, common_name: str, organization: str = "", *addresses: str
    ) -> KeyPair:
        """Return a certificate of the cluster's authority, for a client or a server.

        Args:
            name: Of its files.
            common_name: The user, for a client.
            organization: The group, for a client.
            addresses: Where a server listens, besides the loopback address.
        """
        return self._authority.issue(name, common_name, organization, *addresses)

    def write_kubeconfig(self, name: str, common_name: str, organization: str = "") -> Path:
        """Write a kubeconfig for a user and a group of the caller's choice."""
        return kubeconfig.write_for_certificate(
            self.directory / f"{name}.kubeconfig",
            self.api_url,
            self._authority.certificate,
            self.issue_certificate(name, common_name, organization),
        )

    @property
    def certificate_authority(self) -> Path:
        """The certificate that signs the API server's."""
        return self._authority.certificate

    def _prepare_files(self) -> None:
        addresses = (_FIRST_SERVICE_ADDRESS, self._options.address)
        self._authority = Authority(self.directory / "pki")
        self._serving = self._authority.issue("serving", "kube-apiserver", "", *addresses)
        self._kubelet_client = self._authority.issue(
            "kubelet-client", "kube-apiserver-kubelet-client", "system:masters"
        )
        self._account_key = self._authority.signing_key("service-accounts")
        audit.write_policy(self.directory / "audit-policy.yaml", self._options.audit_rules)
        self.minio = ObjectStore(self._keeper)
        self._tls = ssl.create_default_context(cafile=str(self._authority.certificate))
        self._tls.load_cert_chain(self._serving.certificate, self._serving.key)

    def _start_with_free_ports(self) -> None:
        for attempt in range(_START_ATTEMPTS):
            self._ports = _Ports.choose()
            self.minio.choose_port()
            try:
                self._start_processes()
            except PortTakenError:
                self._keeper.end_processes()
                shutil.rmtree(self.directory / "etcd", ignore_errors=True)
                if attempt == _START_ATTEMPTS - 1:
                    raise
            else:
                return

    def _start_processes(self) -> None:
        self.write_admin_kubeconfig()
        etcd = self._start_etcd()
        self.minio.launch()
        etcd.wait_until(lambda: self._answers(self._ports.etcd, "health"))
        self._start_api_server()
        self._api_server.wait_until(self._api_server_is_ready)
        manager = self._start_controller_manager()
        scheduler = self._start_scheduler()
        manager.wait_until(lambda: self._answers(self._ports.controller_manager, "healthz"))
        scheduler.wait_until(lambda: self._answers(self._ports.scheduler, "healthz"))
        self.minio.wait_until_ready()

    def write_admin_kubeconfig(self) -> None:
        """Write the administrator's kubeconfig for the present API server port."""
        self.write_kubeconfig("admin", "development-admin", "system:masters")

    def _start_etcd(self) -> Process:
        client = f"https://127.0.0.1:{self._ports.etcd}"
        peer = f"https://127.0.0.1:{self._ports.etcd_peer}"
        return self._launch(
            "etcd",
            f"--data-dir={self.directory / 'etcd'}",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=default={peer}",
            "--client-cert-auth",
            f"--trusted-ca-file={self._authority.certificate}",
            f"--cert-file={self._serving.certificate}",
            f"--key-file={self._serving.key}",
            "--peer-client-cert-auth",
            f"--peer-trusted-ca-file={self._authority.certificate}",
            f"--peer-cert-file={self._serving.certificate}",
            f"--peer-key-file={self._serving.key}",
            "--unsafe-no-fsync",
            "--log-level=warn",
        )

    def _start_api_server(self) -> None:
        self._api_server = self._launch(
            "kube-apiserver",
            f"--bind-address={self._options.address}",
            f"--secure-port={self._ports.api}",
            f"--advertise-address={self._options.address}",
            # Endpoints on the loopback are refused, and with it there is nobody to use them.
            *(["--endpoint-reconciler-type=none"] if self._options.address == _LOOPBACK else []),
            f"--etcd-servers=https://127.0.0.1:{self._ports.etcd}",
            f"--etcd-cafile={self._authority.certificate}",
            f"--etcd-certfile={self._serving.certificate}",
            f"--etcd-keyfile={self._serving.key}",
            f"--client-ca-file={self._authority.certificate}",
            f"--tls-cert-file={self._serving.certificate}",
            f"--tls-private-key-file={self._serving.key}",
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={self._account_key.certificate}",
            f"--service-account-signing-key-file={self._account_key.key}",
            f"--service-cluster-ip-range={SERVICE_ADDRESSES}",
            "--kubelet-preferred-address-types=InternalIP",
            f"--kubelet-certificate-authority={self._authority.certificate}",
            f"--kubelet-client-certificate={self._kubelet_client.certificate}",
            f"--kubelet-client-key={self._kubelet_client.key}",
            f"--audit-policy-file={self.directory / 'audit-policy.yaml'}",
            f"--audit-log-path={self.audit_log}",
            "--profiling=false",
            *self._options.api_server_arguments,
        )

    def _start_controller_manager(self) -> Process:
        fast = ["--kube-api-qps=1000", "--kube-api-burst=2000", "--concurrent-job-syncs=20"]
        return self._launch(
            "kube-controller-manager",
            *self._component_arguments("kube-controller-manager", self._ports.controller_manager),
            "--use-service-account-credentials",
            # A new node gets its first visit, and loses its not-ready taint, within this time.
            "--node-monitor-period=1s",
            f"--service-account-private-key-file={self._account_key.key}",
            f"--root-ca-file={self._authority.certificate}",
            *(fast if self._options.fast else []),
            *self._options.controller_manager_arguments,
        )

    def _start_scheduler(self) -> Process:
        fast = ["--kube-api-qps=1000", "--kube-api-burst=2000"]
        return self._launch(
            "kube-scheduler",
            *self._component_arguments("kube-scheduler", self._ports.scheduler),
            *(fast if self._options.fast else []),
            *self._options.scheduler_arguments,
        )

    def _component_arguments(self, name: str, port: int) -> list[str]:
        path = self.write_kubeconfig(name, f"system:{name}")
        return [
            f"--kubeconfig={path}",
            "--bind-address=127.0.0.1",
            f"--secure-port={port}",
            f"--tls-cert-file={self._serving.certificate}",
            f"--tls-private-key-file={self._serving.key}",
            "--leader-elect=false",
            "--profiling=false",
        ]

    def _launch(self, name: str, *arguments: str) -> Process:
        environment = {"PATH": os.defpath, "HOME": str(self.directory)}
        return self._keeper.start(name, [self._binaries[name], *arguments], environment)

    def _api_server_is_ready(self) -> bool:
        return self._answers(self._ports.api, "readyz", self._options.address)

    def _answers(self, port: int, path: str, address: str = _LOOPBACK) -> bool:
        url = f"https://{address}:{port}/{path}"
        try:
            with urlopen(url, timeout=2, context=self._tls) as answer:
                return bool(answer.status == 200)
        except (URLError, HTTPException, OSError):
            return False

    def _run(self, name: str, arguments: Sequence[str], input_text: str | None, check: bool) -> str:
        answer = subprocess.run(
            [self._binaries[name], *arguments],
            env=os.environ | self.environment,
            input=input_text,
            capture_output=True,
            text=True,
            check=False,
        )
        if check and answer.returncode != 0:
            command = " ".join((name, *arguments))
            raise ProcessError(f"{command} exited with {answer.returncode}: {answer.stderr}")
        return answer.stdout
