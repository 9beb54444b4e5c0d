"""A run in the cache of an operator without an API server."""

from autodidact_operator.cluster.resources import RunKey

KEY = RunKey("SelfRewardRun", "research", "a")
