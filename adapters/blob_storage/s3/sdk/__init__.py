"""Requests by botocore, which alone knows the AWS credential chain, AWS's endpoints, and rare signatures.

This is the only package that imports botocore, aiobotocore and aioboto3, and it is imported only for a bucket that
needs them (`ways`). Once botocore has decided about a request, `direct` sends the others if it knows the signature.
"""
