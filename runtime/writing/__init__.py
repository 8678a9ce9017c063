"""What `runtime.files` is made of: temporary files that a lock protects, renames, and where a file may be written."""
