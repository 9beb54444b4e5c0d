"""The stages of a run and the frame around them; runs on GPUs, or on a CPU for toys."""
