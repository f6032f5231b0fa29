"""Storage use: the space that content, trash, uploads and records take, for the whole store and by repository."""
