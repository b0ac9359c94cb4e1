"""With which codes commands end. Click's own are 0 for success and 2 for a wrong command line."""

FAILED = 1
FAILED_PAIRS = 3  # of a batch or an evaluation, which is finished
FAILED_VERDICT = 4  # of the alignment, whose files are written
INTERRUPTED, TERMINATED = 130, 143  # as shells say it: 128 and the signal's number
