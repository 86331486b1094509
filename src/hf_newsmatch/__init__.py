"""hf-newsmatch: rank, for each news text, the pictures most likely published with it."""
