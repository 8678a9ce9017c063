"""The Open Inference Protocol over HTTP: its messages, and an embedder on the other side of it."""
