"""The certificate of an artifact: its schema, and what is read and written of it."""
