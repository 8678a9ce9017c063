"""How fast and how right stores of enrolled people search."""
