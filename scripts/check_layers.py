#!/usr/bin/python3
"""Checks the includes of the layers: a folder may include only what STYLE's table of the tree lets it.

Usage: scripts/check_layers.py [ROOT]      prints `file:line: reason`; exit status 1 if there is any.
"""

import pathlib
import re
import sys

# Folder -> folders of the project that it may include, beside itself.
LAYERS = {
    "wire": set(),
    "parser": {"wire"},
    "catalog": {"wire", "parser"},
    "rewrite": {"wire", "parser", "catalog"},
    "backend": {"wire", "catalog"},
    "console": {"wire", "catalog", "backend"},
    "proxy": {"wire", "parser", "catalog", "rewrite", "backend", "console"},
}
TESTS = {"tests", "bench"}  # may include every layer; no layer may include them

# Headers of others, and the files that may see them.
WALLS = [
    (re.compile(r"^(pg_query|protobuf-c)\b"), re.compile(r"^parser/.*\.cpp$"), "libpg_query never leaves parser/*.cpp"),
    (
        re.compile(r"^(boost/asio|boost/beast|spdlog|sys/socket\.h|sys/epoll\.h|netinet|arpa|netdb\.h|poll\.h)"),
        re.compile(r"^((backend|console|proxy|tests|bench)/|catalog/postgres_store\.cpp$)"),
        "sockets, event loops and logging stop at backend/",
    ),
    (re.compile(r"^openssl/ssl\.h"), re.compile(r"^(backend|console|proxy|tests|bench)/"), "TLS stops at backend/"),
    (re.compile(r"^sqlite3\.h"), re.compile(r"^(catalog/.*\.cpp$|tests/)"), "SQLite never leaves catalog/*.cpp"),
    (re.compile(r"^libpq-fe\.h"), re.compile(r"^(catalog/.*\.cpp$|tests/|bench/)"), "libpq never leaves catalog/*.cpp"),
    (re.compile(r"^catch2/"), re.compile(r"^tests/"), "Catch2 belongs to tests/"),
]

INCLUDE = re.compile(r'^\s*#\s*include\s*(["<])([^">]+)[">]')


def check(root, file):
    path = file.relative_to(root).as_posix()
    layer = path.split("/")[0]
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
        match = INCLUDE.match(line)
        if not match:
            continue
        quote, target = match.groups()
        where = f"{path}:{number}: "
        for header, allowed, reason in WALLS:
            if header.match(target) and not allowed.match(path):
                yield f"{where}<{target}>: {reason}"
        if quote == "<":
            if target.split("/")[0] in LAYERS and (root / target).exists():
                yield f'{where}<{target}> is ours: include it with "…"'
            continue
        folder = target.split("/")[0]
        if not (root / target).is_file():
            yield f'{where}"{target}": no such file from the root of the repository'
        elif layer in TESTS:
            if folder in TESTS and folder != layer:
                yield f"{where}{layer}/ may not include {folder}/"
        elif folder != layer and folder not in LAYERS[layer]:
            yield f"{where}{layer}/ may not include {folder}/"


def main():
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parent.parent).resolve()
    files = [
        file
        for folder in [*LAYERS, *sorted(TESTS)]
        for file in sorted((root / folder).rglob("*"))
        if file.suffix in {".cpp", ".hpp", ".h", ".c"}
    ]
    if not files:
        print("error: no source files found", file=sys.stderr)
        return 1
    problems = [problem for file in files for problem in check(root, file)]
    for problem in problems:
        print(problem)
    if not problems:
        print(f"{len(files)} files keep the order of the layers")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
