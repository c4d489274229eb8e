"""Nothing that nobody uses: functions that only a declaration names count as used, and so does what pyproject lists."""

import subprocess
import sys
from pathlib import Path

from overlap.pipeline.declared import STEPS, exported_tables, list_kinds

PROJECT = Path(__file__).resolve().parents[1]


def test_nothing_is_left_that_nobody_uses(tmp_path: Path):
    steps = [step for name in STEPS for step in list_kinds(name)]
    declared = {function for step in steps for function in (step.work, step.check, step.count) if function}
    names = {function.partition(":")[2] for function in (*declared, *exported_tables().values())}
    (tmp_path / "declared.py").write_text("\n".join(sorted(names)))
    folders = ("overlap", "review_app", "flows", "benchmarks", str(tmp_path))
    words = [sys.executable, "-m", "vulture", *folders]
    done = subprocess.run(words, cwd=PROJECT, stdout=subprocess.PIPE, text=True)
    assert not done.stdout
    assert done.returncode == 0
