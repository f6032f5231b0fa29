"""A quick start: work that no process needs before the first answer is postponed, left out, or done beside."""
