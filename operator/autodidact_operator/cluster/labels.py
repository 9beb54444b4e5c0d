"""Labels of the Jobs, Pods and Services that belong to a run."""

from autodidact_contract.base import GROUP

RUN = f"{GROUP}/run"
"""Name of the run; the watches select Jobs and Pods by this label."""

RUN_UID = f"{GROUP}/run-uid"
"""UID of the run; a later run of the same name has another UID."""

KIND = f"{GROUP}/kind"
"""Kind of the run in lower case."""

JOB = f"{GROUP}/job"
"""Name of the Job in the run's graph."""

ATTEMPT = f"{GROUP}/attempt"
"""Number of the attempt, from 1."""

EXPIRES_AT = f"{GROUP}/expires-at"
"""Annotation of a Job's Secret, for people: when its credentials end."""

COMPLETION_INDEX = "batch.kubernetes.io/job-completion-index"
"""Shard of an Indexed Job's pod, written by Kubernetes as label and annotation."""
