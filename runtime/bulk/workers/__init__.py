"""Who reads, aligns and embeds images: threads and processes of this machine."""
