"""IJB-B and IJB-C: templates of several images, compared 1:1 and searched 1:N (open set)."""
