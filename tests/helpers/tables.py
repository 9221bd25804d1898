"""Tables written to a file, and what is read from it."""

from fastmlp.tables.reading import read_table


def write(path, text, encoding="utf-8"):
    path.write_bytes(text.encode(encoding))
    return path


def columns_of(path, **options):
    return {name: column.tolist() for name, column in read_table(path, **options).columns.items()}
