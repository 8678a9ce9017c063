"""The graph of a network: its operations, ways through it, its description, and where it comes from."""
