"""What those who run a service ask of it: whether it is well, and how busy."""
