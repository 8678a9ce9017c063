"""LiteRT: the files of phones, read and checked, and their runtime."""
