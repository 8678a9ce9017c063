"""What the numbers of an exported graph have to be."""
