"""Training on answers sampled on the way: PPO and online self-training."""
