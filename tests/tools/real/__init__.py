"""Runs on a real, small chat model."""
