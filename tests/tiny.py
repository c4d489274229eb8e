"""The ground truth of one query, as revisitop writes it."""

import pickle
from pathlib import Path


def write_truth(folder: Path, box: list[float]) -> None:
    truth = {"imlist": ["d"], "qimlist": ["q"], "gnd": [{"bbx": box, "easy": [0], "hard": [], "junk": []}]}
    (folder / "gnd_tiny.pkl").write_bytes(pickle.dumps(truth))
