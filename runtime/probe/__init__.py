"""The probe: an image by whose embedding a network is found to be served as it was exported."""
