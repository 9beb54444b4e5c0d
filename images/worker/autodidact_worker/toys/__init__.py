"""The built-in tasks behind toy:// and their tiny models."""
