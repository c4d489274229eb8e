"""The paper's case at full size: a training list and the votes that lead to its Tables 2 and 3."""

from collections.abc import Iterator
from pathlib import Path

N_LANDMARKS, N_IMAGES = 81_313, 1_580_470
# Evaluation set: duplicated queries, landmarks removed, their images.
TABLE_2 = {"rparis6k": (36, 11, 1227), "roxford5k": (38, 6, 315), "": (0, 1, 23)}

_ON_OTHERS = ("same_other_side", "different", "unsure")


def shares(total: int, n: int) -> list[int]:
    """Cut a total into n parts that differ by one at most."""
    return [total // n + (k < total % n) for k in range(n)]


def planted() -> dict[str, dict[int, int]]:
    """Return the images of each landmark to be removed, by evaluation set; ids are spread over the file."""
    ids = iter(range(4, N_LANDMARKS * 2, N_LANDMARKS // 10))
    return {name: {next(ids): size for size in shares(images, n)} for name, (_, n, images) in TABLE_2.items()}


def sizes() -> dict[int, int]:
    gone = {landmark: size for landmarks in planted().values() for landmark, size in landmarks.items()}
    # Some ids are missing in the real file as well.
    kept = [n for n in range(1, 3 * N_LANDMARKS) if n not in gone][: N_LANDMARKS - len(gone)]
    return dict(sorted((gone | dict(zip(kept, shares(N_IMAGES - sum(gone.values()), len(kept)), strict=True))).items()))


def write_world(folder: Path) -> None:
    """Write train_clean.csv and votes.csv."""
    number = 0
    first: dict[int, int] = {}
    with (folder / "train_clean.csv").open("w") as file:
        file.write("landmark_id,images\n")
        for landmark, size in sizes().items():
            file.write(f"{landmark}," + " ".join(f"{n:016x}" for n in range(number, number + size)) + "\n")
            first[landmark] = number
            number += size
    (folder / "votes.csv").write_text("\n".join(vote_lines(first)) + "\n")


def vote_lines(first: dict[int, int]) -> Iterator[str]:
    """Vote as three reviewers, of whom one says yes to what is there; a smaller landmark loses each query's count."""
    yield "evaluation_set,query_id,image_id,landmark_id,reviewer,answer"
    for evaluation_set, landmarks in planted().items():
        if not evaluation_set:
            yield from (f",,,{landmark},r1,same" for landmark in landmarks)
            yield ",,,999,r1,different"
            continue
        for query in range(TABLE_2[evaluation_set][0]):
            landmark = list(landmarks)[query % len(landmarks)]
            asked = [(first[landmark] + n, landmark, "same") for n in range(3)]
            asked += [(first[77 + n], 77 + n, answer) for n, answer in enumerate(_ON_OTHERS)]
            for photo, photo_landmark, answer in asked:
                yield f"{evaluation_set},q{query},{photo:016x},{photo_landmark},r1,{answer}"
                yield f"{evaluation_set},q{query},{photo:016x},{photo_landmark},r2,different"
                yield f"{evaluation_set},q{query},{photo:016x},{photo_landmark},r3,unsure"
