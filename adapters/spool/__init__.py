"""Growing blobs of the pull-through cache: in a folder that all worker processes share, and in memory."""
