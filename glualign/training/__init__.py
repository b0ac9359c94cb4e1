"""Training: synthetic pairs from photographs, losses, and a loop that can be interrupted anywhere."""
