"""The catalog in a MySQL or MariaDB table, `SEARCH_BACKEND=MYSQL`: the table that DomeOS reads.

`index` is the adapter; `connections` reaches the server, `schema` makes and inspects the table, `paging`
reads pages in byte order whatever the table's collation, `rebuild` exchanges the whole set.
"""

from adapters.catalog_index.mysql.index import MySqlCatalogIndex

__all__ = ["MySqlCatalogIndex"]
