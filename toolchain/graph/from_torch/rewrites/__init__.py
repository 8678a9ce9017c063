"""What a student graph is simplified by after it is written, one rewrite a file; each leaves the function as it is."""
