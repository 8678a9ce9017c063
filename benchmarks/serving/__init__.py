"""Load on a service, and what it withstands."""
