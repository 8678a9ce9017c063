"""What efq-inspect says of a teacher, a student or an artifact."""
