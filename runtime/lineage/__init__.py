"""Where a network comes from and what may be done with it: licences, and the record of its origin."""
