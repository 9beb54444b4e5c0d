"""Questions, the answers read out of completions, and whether they are right."""
