"""Passes over a student's graph before it is written: one file each, with what it requires and ensures."""
