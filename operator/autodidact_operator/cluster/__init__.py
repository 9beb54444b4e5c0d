"""The API server: reading it, watching it, writing to it, and when."""
