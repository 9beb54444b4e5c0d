"""What users write and read: specs, status, and their definitions."""
