"""The routes that begin with /v1."""
