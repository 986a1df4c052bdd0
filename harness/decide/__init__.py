"""How runs become a verdict: a bank-moderated, sequential, paired t-test and the tree that reads it."""
