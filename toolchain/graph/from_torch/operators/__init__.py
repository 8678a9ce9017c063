"""What ATen operations are in a student graph, by family: a table each, from an operation's name to its form."""
