"""What becomes training data: seed trees, new prompts, preference pairs."""
