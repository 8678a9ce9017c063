"""Which images a run is of: folders that are walked, lists that are read, and the lists of its shards."""
