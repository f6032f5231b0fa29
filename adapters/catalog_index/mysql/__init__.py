"""The catalog in a MySQL or MariaDB table, `SEARCH_BACKEND=MYSQL`: the table that DomeOS reads.

`index` is the adapter. `connections` manages connections, `schema` describes and inspects the table, `reading` reads
names by code point, with `paging` if the key sorts differently, `rebuild` replaces all names, and `creation` creates a
missing table with all names.
"""

from adapters.catalog_index.mysql.index import MySqlCatalogIndex

__all__ = ["MySqlCatalogIndex"]
