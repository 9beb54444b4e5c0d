"""The same step without a cluster: Jobs become processes."""
