"""What a benchmark found: results, tables and plots."""
