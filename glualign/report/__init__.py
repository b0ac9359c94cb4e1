"""HTML pages about alignments, batches and evaluations: one file each, which asks the network for nothing."""
