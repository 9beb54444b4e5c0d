"""What every training shares, whoever owns its loop."""
