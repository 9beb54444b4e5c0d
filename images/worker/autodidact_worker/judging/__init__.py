"""Judging as self-rewarding does it: rubrics, votes, scores, battles, agreement with people."""
