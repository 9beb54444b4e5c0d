"""Models and their tokens: loading, adapters, likelihoods, heads."""
