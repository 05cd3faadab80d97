"""Nested dicts to TOML: as much of it as a Signalbox configuration uses."""

import json
import re


def _key(name):
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else json.dumps(name)


def _value(value):
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{_key(k)} = {_value(v)}" for k, v in value.items()) + " }"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_value(v) for v in value) + "]"
    return json.dumps(str(value), ensure_ascii=False)  # a basic TOML string has JSON's escapes


def _is_tables(value):
    return isinstance(value, list) and bool(value) and all(isinstance(v, dict) for v in value)


def to_toml(tree, path=()):
    """A dict is a table, a list of dicts an array of tables, everything else a value."""
    lines = []
    for name, value in tree.items():
        if not isinstance(value, dict) and not _is_tables(value):
            lines.append(f"{_key(name)} = {_value(value)}")
    for name, value in tree.items():
        where = (*path, name)
        title = ".".join(_key(part) for part in where)
        if isinstance(value, dict):
            lines += ["", f"[{title}]", to_toml(value, where)]
        elif _is_tables(value):
            for row in value:
                lines += ["", f"[[{title}]]", to_toml(row, where)]
    return "\n".join(lines) + "\n"
