"""The control plane: a pure planner, and the effects around it on a cluster or on one machine."""
