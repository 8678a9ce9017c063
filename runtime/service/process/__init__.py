"""The process of a service: its port, its keys, its log, its end."""
