"""From a spec to the graph of a run's stages, a module per recipe."""
