"""Process 1 of a machine: arranges its files and network, then waits and reaps.

`machine.Machine` runs it in new mount, network, process and host name namespaces; when it ends, the
kernel ends every process of the machine and undoes every mount, address, route and firewall rule.

    python -m tools.node.init DIRECTORY
"""

import signal
import subprocess
import sys
from pathlib import Path

READY = "machine.ready"
# What a node's programs write outside of the directories they are told.
_PRIVATE = ("/var/lib", "/var/log")


def main(directory: Path) -> None:
    """Prepares the machine, says so by a file, and lives until killed."""
    # What a kubelet mounts for a pod must show in its containers.
    _run("mount", "--make-rshared", "/")
    _run("mount", "-t", "tmpfs", "tmpfs", "/run")
    for place in _PRIVATE:
        own = directory / place.strip("/")
        own.mkdir(parents=True, exist_ok=True)
        _run("mount", "--bind", str(own), place)
    _run("ip", "link", "set", "lo", "up")
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
    # Orphans are reaped without being waited for.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    (directory / READY).touch()
    while True:
        signal.pause()


def _run(*command: str) -> None:
    subprocess.run(command, check=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
