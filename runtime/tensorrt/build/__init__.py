"""Build an engine from a model: options, the process that builds, and the layers it came to."""
