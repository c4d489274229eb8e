"""Put the figures of an impact study into docs/impact.md: ``python -m benchmarks.impact FOLDER``.

FOLDER is where ``overlap impact`` wrote its tables, ``STORE/impact``. What stands between the two marks of the page is
replaced, and the figures lie beside it; without ``--write`` it is printed.
"""

import argparse
import shutil
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from overlap.base.grids import Grid
from overlap.base.tables import BOXES, DOSES, EFFECTS, ORDERS, SCORES, STAGES, VERSIONS, checked
from overlap.report.impact_tables import (
    boxes_grid,
    doses_grid,
    effects_grid,
    orders_grid,
    stages_grid,
    table4_grid,
    versions_grid,
)

DOC = Path(__file__).parents[1] / "docs" / "impact.md"
PICTURES = {"effects.png": "Change in mAP with its interval", "changes.png": "Change in AP of every query"}
BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"


def main() -> int:
    """Print the figures, or write them into the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="where 'overlap impact' wrote its tables")
    parser.add_argument("--write", action="store_true", help="replace the figures in docs/impact.md")
    parser.add_argument("--machine", default="2 shared cores, CPU", help="what it ran on")
    options = parser.parse_args()
    text = "\n\n".join(render(options.folder, machine=options.machine))
    if not options.write:
        print(text)
        return 0
    before, _, rest = DOC.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    DOC.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}", encoding="utf-8")
    for name in PICTURES:
        shutil.copyfile(options.folder / name, DOC.with_name(f"impact-{name}"))
    print(f"{DOC}: the figures of {options.folder}", file=sys.stderr)
    return 0


def render(folder: Path, *, machine: str) -> Iterator[str]:
    """Yield the paragraphs: what ran, and each table that has rows."""
    scores = read(folder, "scores", SCORES)
    n_seeds, n_versions = (len(pc.unique(scores[name])) for name in ("seed", "training_set"))
    date = datetime.fromtimestamp((folder / "scores.csv").stat().st_mtime, UTC).date()
    networks = ", ".join(pc.unique(scores["network"]).to_pylist())
    yield f"{date}, {machine}; {networks}, {n_seeds} seeds, {n_versions} versions."
    for name, words in PICTURES.items():
        yield f"![{words}](impact-{name})"
    both = scores.filter(pc.is_in(scores["training_set"], value_set=pa.array(["full", "clean"])))
    effects = read(folder, "effect", EFFECTS)
    for grid in (
        effects_grid(effects, protocol="medium"),
        effects_grid(effects, protocol="hard"),
        table4_grid(both, versions=("full", "clean")),
        orders_grid(read(folder, "ranking", ORDERS)),
        doses_grid(read(folder, "dose", DOSES)),
        versions_grid(read(folder, "versions", VERSIONS)),
        stages_grid(read(folder, "stages", STAGES)),
        boxes_grid(read(folder, "boxes", BOXES)),
    ):
        if grid.rows:
            yield f"**{grid.caption}**\n\n{as_markdown(grid)}"


def read(folder: Path, name: str, schema: pa.Schema) -> pa.Table:
    """Read a table that 'overlap impact' wrote; lists are blanks between their elements there."""
    lists = {field.name: field.type for field in schema if pa.types.is_list(field.type)}
    types = {field.name: pa.string() if field.name in lists else field.type for field in schema}
    options = pacsv.ConvertOptions(column_types=types, strings_can_be_null=True, quoted_strings_can_be_null=False)
    table = pacsv.read_csv(folder / f"{name}.csv", convert_options=options)
    for column, kind in lists.items():
        cells = [(text or "").split() for text in table[column].to_pylist()]
        values = pa.array(
            [[int(each) for each in cell] if pa.types.is_integer(kind.value_type) else cell for cell in cells]
        )
        table = table.set_column(table.column_names.index(column), column, values.cast(kind))
    return checked(table, schema)


def as_markdown(grid: Grid) -> str:
    """Return a grid as a Markdown table."""
    lines = [grid.columns, ("---",) * len(grid.columns), *grid.rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


if __name__ == "__main__":
    sys.exit(main())
