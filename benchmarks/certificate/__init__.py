"""The page of a certificate: one HTML file with its plots."""
