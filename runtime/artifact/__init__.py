"""The artifact: a folder of files, their schema and their checksums."""
