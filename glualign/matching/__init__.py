"""From two images to one flow: prediction, global motion, fusion, refinement, confidence and verdict."""
