"""Debian packages a real node needs; what is missing is installed."""

import os
import shutil
import subprocess
from pathlib import Path

from tools.cluster.processes import ProcessError
from tools.cluster.tools import print_progress

CNI_PLUGINS = Path("/usr/lib/cni")

# By the package, a program or file that only it brings.
_PACKAGES = {
    "buildah": "buildah",
    "conntrack": "conntrack",
    "containerd": "containerd",
    "containernetworking-plugins": str(CNI_PLUGINS / "ptp"),
    "debootstrap": "debootstrap",
    "gcc": "gcc",
    "iproute2": "ip",
    "iptables": "iptables",
    "libc6-dev": "/usr/include/stdio.h",
    "runc": "runc",
}


def require() -> None:
    """Installs what is missing.

    Raises:
        ProcessError: Without root, or if apt-get fails.
    """
    if os.geteuid() != 0:
        raise ProcessError("a real node needs root: it makes namespaces, mounts and cgroups")
    missing = [package for package, sign in _PACKAGES.items() if not _is_there(sign)]
    if missing:
        print_progress(f"installing {', '.join(missing)} with apt-get")
        _apt_get("update")
        _apt_get("install", "--yes", "--no-install-recommends", *missing)


def _is_there(sign: str) -> bool:
    return Path(sign).exists() or shutil.which(sign) is not None


def _apt_get(*arguments: str) -> None:
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    answer = subprocess.run(
        ["apt-get", *arguments], env=environment, capture_output=True, text=True, check=False
    )
    if answer.returncode != 0:
        raise ProcessError(f"apt-get {arguments[0]}: {answer.stderr[-2000:]}")
