"""What every stage stands on: the frame, rows, checkpoints, progress, logs, errors."""
