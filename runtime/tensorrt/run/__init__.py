"""Run an engine on a GPU: streams, buffers, execution contexts and batches."""
