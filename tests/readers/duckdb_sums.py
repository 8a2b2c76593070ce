"""What DuckDB, another reader than the one that wrote them, finds in Parquet files of usage.

Usage: duckdb_sums.py FOLDER; prints one JSON document.
"""

import json
import sys

import duckdb

files = f"{sys.argv[1]}/*/*.parquet"
db = duckdb.connect(config={"threads": 1})
db.execute("set timezone = 'UTC'")
db.execute(
    "create view usage as select * from read_parquet($files, hive_partitioning = true,"
    " union_by_name = true)".replace("$files", f"'{files}'")
)
columns = {name: kind for name, kind, *_ in db.execute("describe usage").fetchall()}
classes = [name for name in columns if name.startswith("tokens_") and name != "tokens_other"]
sums = ", ".join(f'sum("{name}")' for name in classes)
row = db.execute(f"select count(*), count(distinct request_id), {sums} from usage").fetchone()
other = db.execute("select tokens_other from usage where tokens_other is not null").fetchall()
tokens = {name.removeprefix("tokens_"): int(n) for name, n in zip(classes, row[2:]) if n is not None}
for (text,) in other:
    for name, count in json.loads(text).items():
        tokens[name] = tokens.get(name, 0) + count
costs = db.execute(
    "select currency, cast(sum(cost) as varchar) from usage where cost is not null group by 1"
).fetchall()
days = db.execute(
    "select cast(day as varchar), count(*), cast(min(\"at\") as varchar), cast(max(\"at\") as varchar)"
    " from usage group by 1 order by 1"
).fetchall()
misplaced = db.execute(
    "select count(*) from usage where cast(\"at\" as date) <> cast(day as date)"
).fetchone()[0]
encodings = db.execute(
    f"select distinct path_in_schema, encodings, compression from parquet_metadata('{files}')"
    " where path_in_schema in ('model_requested', 'customer')"
).fetchall()
print(
    json.dumps(
        {
            "rows": row[0],
            "requests": row[1],
            "tokens": tokens,
            "costs": dict(costs),
            "days": {day: count for day, count, _, _ in days},
            "misplaced": misplaced,
            "types": {name: columns[name] for name in ("at", "cost", "tokens_output_text", "key")},
            "encodings": [f"{column} {how} {codec}" for column, how, codec in encodings],
        }
    )
)
