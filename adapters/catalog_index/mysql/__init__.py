"""The catalog in a MySQL or MariaDB table, `SEARCH_BACKEND=MYSQL`: the table that DomeOS reads.

`index` is the adapter; `connections` reaches the server, `schema` makes and inspects the table, `reading`
reads names by code point, with `paging` where the key sorts otherwise, `rebuild` exchanges the whole set.
"""

from adapters.catalog_index.mysql.index import MySqlCatalogIndex

__all__ = ["MySqlCatalogIndex"]
