"""Checks of dashboards, rules and alerts: `python dashboards/check COMMAND`, with the tests' Python.

    files                              boards, schema, house rules: everything that needs no server
    names SCRAPE                       metrics and labels, against a file with a real scrape
    live PROMETHEUS LEDGER             every query against a real Prometheus and a real ledger
    agree PROMETHEUS DATA              panels against the books of a demo's provider, in its data folder
    ledger ENGINE ADDRESS START END    what panels get of a ledger on `sqlite` or `postgresql`, as JSON
    shorten FOLDER                     a copy of the rules in which hours are seconds
    draw PROMETHEUS LEDGER FOLDER      a picture of each dashboard with what the queries give
    pictures PERMILLE FOLDER SECONDS   the same of a demo with so much traffic, started with that program

Prints what is wrong and fails, or a count and succeeds.
"""

import json
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))


def main(arguments: list[str]) -> int:
    match arguments:
        case ["files"]:
            import expected
            import expected_rules
            import files
            import generate
            import lint
            import schema

            problems = []
            for path, text in generate.written().items():
                if not path.exists() or path.read_text(encoding="utf-8") != text:
                    problems.append(f"{path.name} is not what its board gives: run dashboards/generate.py")
            for path, text in generate.written(generate.POSTGRESQL).items():
                problems += schema.problems(f"{path.stem} on PostgreSQL", json.loads(text))
            for name, dashboard in files.boards().items():
                problems += schema.problems(name, dashboard)
            problems += lint.problems()
            problems += expected.unlisted() + expected_rules.unlisted()
            done = f"{len(files.boards())} dashboards, {len(files.rules())} rules"
        case ["names", scrape]:
            import files
            import names

            problems = names.problems(pathlib.Path(scrape).read_text(encoding="utf-8"))
            done = f"{len(files.every_query())} queries"
        case ["live", prometheus, ledger]:
            import live

            problems, done = live.problems(prometheus, ledger)
        case ["agree", prometheus, data]:
            import agree

            problems, done = agree.problems(prometheus, data)
        case ["ledger", engine, address, start, end]:
            import live

            print(json.dumps(live.of_the_ledger(engine, address, float(start), float(end))))
            return 0
        case ["shorten", folder]:
            import shorten

            target = pathlib.Path(folder)
            if target.is_dir():
                problems, done = [], f"{shorten.write(target)} files"
            else:
                problems, done = [f"the folder `{folder}` is missing: accepted is one that exists"], ""
        case ["draw", prometheus, ledger, folder]:
            import draw

            problems, done = draw.all_boards(prometheus, ledger, pathlib.Path(folder))
        case ["pictures", permille, folder, seconds]:
            import show

            program = str(pathlib.Path(permille).resolve())
            problems, done = show.pictures(program, pathlib.Path(folder), float(seconds))
        case _:
            print(__doc__, file=sys.stderr)
            return 2
    for problem in problems:
        print(problem, file=sys.stderr)
    if problems:
        print(f"{len(problems)} problems", file=sys.stderr)
        return 1
    print(f"{done}: in order")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
