"""One image, index or artifact in detail, for a page that a person reads.

The one rule: documents are hostile. Whatever they contain becomes a page of bounded size, never an error.
"""
