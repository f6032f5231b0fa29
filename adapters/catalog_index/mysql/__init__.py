"""The catalog in a MySQL or MariaDB table, `SEARCH_BACKEND=MYSQL`: the table that DomeOS reads.

`index` is the adapter. `connections` manages connections, `schema` creates and inspects the table, `reading` reads
names by code point, with `paging` if the key sorts differently, and `rebuild` replaces all names.
"""

from adapters.catalog_index.mysql.index import MySqlCatalogIndex

__all__ = ["MySqlCatalogIndex"]
