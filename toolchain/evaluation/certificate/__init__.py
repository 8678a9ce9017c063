"""What a student costs beside its teacher: thresholds, verdicts, mixed galleries and cohorts, as one record."""
