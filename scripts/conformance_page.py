#!/usr/bin/env python3
"""Writes the tables of docs/conformance.md from what scripts/conformance has left.

    scripts/conformance_page.py

Reads build/test-results/pg_regress (MAJOR/outcome, MAJOR/unstable, the outputs; libpq_pipeline.xml)
and scripts/conformance.reasons. What stands between a line `<!-- NAME: ... -->` and the next
`<!-- end -->` is replaced, the rest of the page stays. A version without an outcome has no row, and
no outcome at all is an error.
"""

import collections
import pathlib
import re
import subprocess
import sys
import xml.etree.ElementTree as tree

ROOT = pathlib.Path(__file__).resolve().parent.parent
RESULTS = ROOT / "build/test-results/pg_regress"
PAGE = ROOT / "docs/conformance.md"
MAJORS = (14, 15, 16, 17, 18)
PIN = re.compile(r"^NOTICE:  this session keeps its server connection: ([^\"\n]+)", re.M)


def lines(path):
    return path.read_text().splitlines() if path.exists() else []


def outcomes(major):
    """{mode: (tests, same, by a NOTICE only, explained, not explained, "" or "part")}"""
    rows = (line.split() for line in lines(RESULTS / str(major) / "outcome"))
    return {mode: (*map(int, numbers[:5]), "".join(numbers[5:])) for mode, *numbers in rows}


def server_version(major):
    programs = "/usr/lib/postgresql/15/bin" if major == 15 else ROOT / f"build/servers/{major}/bin"
    said = subprocess.run([f"{programs}/postgres", "--version"], capture_output=True, text=True)
    return re.search(r"\d+\.\d+", said.stdout).group()


def pipelines():
    """{(major, mode): [passed, all]}"""
    counted = collections.defaultdict(lambda: [0, 0])
    path = RESULTS / "libpq_pipeline.xml"
    for case in tree.parse(path).iter("testcase") if path.exists() else []:
        inside = re.search(r"\[(.*)\]", case.get("name")).group(1).split("-")
        major = next(int(word) for word in inside if word.isdigit())
        mode = next(word for word in inside if word in ("session", "transaction"))
        failed = any(case.find(kind) is not None for kind in ("failure", "error", "skipped"))
        counted[major, mode][0] += not failed
        counted[major, mode][1] += 1
    return counted


def table(header, rows):
    cells = [header, ["---"] * len(header), *rows]
    return ["| " + " | ".join(map(str, row)) + " |" for row in cells]


def summary():
    rows = []
    for major in MAJORS:
        for mode, (total, *counts, part) in outcomes(major).items():
            number = f"{total}, a part" if part else total
            rows.append((server_version(major), mode, number, *counts))
    return table(
        ["server", "mode", "tests", "the same", "but for a NOTICE", "explained", "not explained"],
        rows,
    )


def libpq_pipeline():
    rows, counted = [], pipelines()
    for major in sorted({major for major, _ in counted}):
        both = ["{} of {}".format(*counted[major, mode]) for mode in ("session", "transaction")]
        rows.append((server_version(major), *both))
    return table(["server", "session", "transaction"], rows)


def reasons():
    """Each difference that has a reason, and the servers on which it was seen."""
    seen = collections.defaultdict(list)
    for major in MAJORS:
        for mode in outcomes(major):
            for test in lines(RESULTS / str(major) / f"{mode}.known"):
                seen[mode.removesuffix("-unpooled"), test].append(str(major))
    rows = []
    for line in lines(ROOT / "scripts/conformance.reasons"):
        if line.strip() and not line.startswith("#"):
            mode, test, difference, reason = line.split(" | ")
            servers = ", ".join(seen.get((mode, test), [])) or "none in this run"
            rows.append((mode, f"`{test}`", servers, difference, reason))
    return table(["mode", "test", "servers", "difference", "reason"], rows)


def pins():
    """What the NOTICE names, in tests that differ by nothing else."""
    causes = collections.defaultdict(set)
    for major in MAJORS:
        folder = RESULTS / str(major)
        for mode in outcomes(major):
            alone = set(lines(folder / f"{mode}.tests")) - set(lines(folder / f"{mode}.known"))
            for test in alone:
                path = folder / mode / f"{test}.out"
                if path.exists():
                    for cause in PIN.findall(path.read_text(errors="replace")):
                        causes[cause.strip()].add(test)
    order = sorted(causes.items(), key=lambda item: (-len(item[1]), item[0]))
    return table(
        ["what pins", "tests"],
        [(cause, ", ".join(f"`{test}`" for test in sorted(tests))) for cause, tests in order],
    )


def unstable():
    rows = []
    for major in MAJORS:
        names = lines(RESULTS / str(major) / "unstable")
        if outcomes(major):
            rows.append((server_version(major), ", ".join(f"`{name}`" for name in names) or "none"))
    return table(["server", "tests"], rows)


def main():
    parts = {"summary": summary, "pipelines": libpq_pipeline}
    parts |= {"reasons": reasons, "pins": pins, "unstable": unstable}
    if not any(map(outcomes, MAJORS)):
        sys.exit(f"no outcomes in {RESULTS}: scripts/conformance")
    page, inside = [], None
    for line in PAGE.read_text().splitlines():
        begins = re.fullmatch(r"<!-- (\w+): .*-->", line)
        if begins:
            inside = begins.group(1)
            page += [line, "", *parts.pop(inside)(), ""]
        elif line == "<!-- end -->":
            inside = None
        if inside is None:
            page.append(line)
    if parts or inside:
        sys.exit(f"{PAGE} has no place for {', '.join(parts) or 'what follows ' + inside}")
    PAGE.write_text("\n".join(page) + "\n")


if __name__ == "__main__":
    main()
