"""How calls share a model, and threads the work of one: no backend in particular."""
