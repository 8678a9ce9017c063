"""What HTML pages of one file are made of: markup, tables, plots, and the document around them."""
