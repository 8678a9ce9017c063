"""The page of a certificate, for who decides whether a student takes its teacher's place."""
