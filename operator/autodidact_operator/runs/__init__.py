"""One step of one run: observe, decide, act."""
