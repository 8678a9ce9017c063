"""A service over HTTP that embeds, verifies, enrolls and searches."""
