"""Requests to one bucket without botocore, for credentials and an endpoint that the settings give.

`requests` sends the requests; `operations` describes them: method, query, headers and body of each operation, and the
required fields of its answer. `documents` writes and reads XML, in bounded memory. `address` knows the URL of a bucket,
`http_pool` and `tls` reach it.
"""
