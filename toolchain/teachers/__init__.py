"""Float networks to learn from."""
