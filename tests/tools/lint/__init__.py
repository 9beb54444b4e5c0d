"""Rules of the house that no other linter knows."""
