"""Latency, memory and start-up."""
