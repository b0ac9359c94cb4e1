"""How accurate is it: data sets with ground truth, metrics, baselines and the loop that measures them."""
