"""What servers want of an artifact: a file a server, found through `table.py`."""
