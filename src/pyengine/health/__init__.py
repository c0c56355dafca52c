"""Find out whether every backend can be used as it is configured, and say what to do where it can't."""
