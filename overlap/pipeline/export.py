"""Tables of a run as CSV for people."""

from pathlib import Path
from pkgutil import resolve_name

from overlap.base.config import Config
from overlap.base.sheets import write_csv
from overlap.pipeline.declared import exported_tables
from overlap.pipeline.run import require_out


def export_table(config: Config, what: str, out: Path) -> int:
    """Write one of the exported tables as CSV and return its number of rows.

    Raises:
        ArtifactError: the step that makes it has not run, or ran with other settings.
        ConfigError: it can't be written there.
    """
    require_out(out)
    table = resolve_name(exported_tables()[what])(config)
    write_csv(out, table)
    return int(table.num_rows)
