"""Write an artifact, describe it."""
