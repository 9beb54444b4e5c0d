"""A real Kubernetes for tests and development, without root, images or downloads of binaries.

`control_plane.Cluster` starts etcd, the Kubernetes control plane and MinIO as ordinary processes
in one directory; `node` runs pods as host processes; `scripted` plays pods' outcomes.
The command is `PYTHONPATH=tests python -m tools.cluster up`.
"""
