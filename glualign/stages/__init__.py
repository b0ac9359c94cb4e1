"""The steps from two images to one trusted flow: passes, search, confidence, refinement."""
