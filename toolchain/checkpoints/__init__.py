"""Files of weights, whatever wrote them: what they hold is read as data, nothing in them is made or called."""
