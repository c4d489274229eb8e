"""The routes of our own: what to show next, answers, pictures, inliers, downloads. The guard stands before all."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError
from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import BaseRoute, Mount, Route

from overlap.base.errors import DataError, OverlapError, ReviewError
from overlap.base.tables import Answer
from overlap.pipeline.desk import PhotoKey, open_gallery
from overlap.review.desk import NotThereError, answer_task, check_group, find_row, next_task, skip_task, undo
from overlap.review.queue import GOLD_PREFIX
from overlap.review.reviewers import Reviewer
from review_app.access import log_in, log_out, login_page, signed_in, use_invitation, use_ticket
from review_app.room import Picture, Room, current_room

_MOST_LINES = 120
_LARGEST = 2**31 - 1  # the database keeps it in four bytes
_LONGEST_S = 86_400.0

# PostgreSQL takes no NUL in a text.
_Name = Annotated[str, StringConstraints(max_length=200, pattern=r"^[^\x00]*$")]
_Note = Annotated[str, StringConstraints(max_length=2000, pattern=r"^[^\x00]*$")]
_ItemId = Annotated[str, StringConstraints(pattern="^[0-9a-f]{32}$")]


class Asked(BaseModel):
    """What the body of a request may say, and nothing else."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class Shown(Asked):
    """The group that is shown, or wanted; none by default."""

    group: _Name | None = None


class Skipped(Asked):
    """The group that comes last."""

    group: _Name


class Answered(Asked):
    """The answers to a showing, by item."""

    group: _Name
    lease: _Name
    seq: Annotated[int, Field(ge=1, le=_LARGEST)]
    answers: Annotated[dict[_Name, Answer], Field(min_length=1)]
    seconds: Annotated[float, Field(strict=False)] | None = None
    note: _Note | None = None


class Looked(Asked):
    """The item whose inliers are wanted."""

    item: _ItemId


def routes() -> list[BaseRoute]:
    """Return the routes to mount beside Streamlit's."""
    return [
        Route("/login", login_page, methods=["GET"]),
        Route("/login", log_in, methods=["POST"]),
        Route("/logout", log_out, methods=["POST", "GET"]),
        Route("/session", use_ticket, methods=["GET"]),
        Route("/enter", use_invitation, methods=["GET"]),
        Mount(
            "/api",
            routes=[
                Route("/task", _posted(Shown, _show), methods=["POST"]),
                Route("/answer", _posted(Answered, _answer), methods=["POST"]),
                Route("/skip", _posted(Skipped, _skip), methods=["POST"]),
                Route("/undo", _posted(Shown, _undo), methods=["POST"]),
                Route("/lines", _posted(Looked, _lines), methods=["POST"]),
            ],
        ),
        Route("/pictures/{name}", _picture, methods=["GET"]),
        Route("/downloads/{release}/{file}", _download, methods=["GET"]),
    ]


def picture_of(room: Room, reviewer: Reviewer, key: PhotoKey, view: str) -> str | None:
    """Return the address of a picture for a reviewer, or None for a photo that is gone."""
    return room.address(reviewer.name, Picture(key, view)) if key in room.gallery.rows else None


def keys_of(room: Room, item: Mapping[str, Any]) -> tuple[PhotoKey, PhotoKey]:
    """Return where the two photos of a pair are from."""
    name = item["evaluation_set"]
    if name.startswith(GOLD_PREFIX):
        source = name.removeprefix(GOLD_PREFIX)
        return (source, item["query_id"]), (source, item["image_id"])
    return (name, item["query_id"]), (room.gallery.train, item["image_id"])


def release_files(room: Room) -> list[Path]:
    """Return the files of all releases that can be downloaded, by release and name; a draft's folder is hidden."""
    return sorted(path for path in room.config.release.out.glob("[!.]*/*") if path.is_file())


_Action = Callable[[Room, Reviewer, Any], Mapping[str, Any]]


def _posted(schema: type[Asked], action: _Action) -> Callable[[Request], Any]:
    async def endpoint(request: Request) -> Response:
        # A page of another site can't send this header with the reviewer's cookie.
        if request.headers.get("x-overlap") != "1":
            raise HTTPException(403, "send this from the app")
        room, reviewer = current_room(), signed_in(request)
        if reviewer is None:
            raise HTTPException(401, "log in first")
        said = await run_in_threadpool(_do, action, room, reviewer, await _read_body(schema, request))
        soon = said["task"]["soon"] if said.get("task") else []
        return JSONResponse(said, background=BackgroundTask(_render_ahead, room, reviewer, soon))

    return endpoint


async def _read_body(schema: type[Asked], request: Request) -> Asked:
    kind = request.headers.get("content-type", "application/json")
    if kind.partition(";")[0].strip().lower() != "application/json":
        raise HTTPException(415, "this is not sent as JSON; the content type must be application/json")
    try:
        return schema.model_validate_json(await request.body())
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"]))[:80] or "the body"
        raise HTTPException(400, f"this is no request of the app: {place}: {first['msg']}") from None


def _do(action: _Action, room: Room, reviewer: Reviewer, body: Asked) -> Mapping[str, Any]:
    try:
        return action(room, reviewer, body)
    except NotThereError as error:
        raise HTTPException(404, str(error)) from None
    except ReviewError as error:
        raise HTTPException(409, str(error)) from None
    except OverlapError as error:
        raise HTTPException(500, str(error)) from None


def _render_ahead(room: Room, reviewer: Reviewer, addresses: Sequence[str]) -> None:
    for address in addresses:
        picture = room.find(reviewer.name, address.rsplit("/", 1)[-1])
        try:
            if picture is not None:
                room.render(picture)
        except DataError:
            continue


def _show(room: Room, reviewer: Reviewer, body: Shown) -> dict[str, Any]:
    return {"task": _task(room, reviewer, group_id=body.group or None)}


def _answer(room: Room, reviewer: Reviewer, body: Answered) -> dict[str, Any]:
    saved = answer_task(
        room.desk,
        reviewer.name,
        group_id=body.group,
        lease=body.lease,
        client_seq=body.seq,
        answers=body.answers,
        seconds=None if body.seconds is None else min(max(body.seconds, 0.0), _LONGEST_S),
        note=body.note or None,
    )
    return {"saved": saved, "before": _reveal(room, body.answers), "task": _task(room, reviewer)}


def _skip(room: Room, reviewer: Reviewer, body: Skipped) -> dict[str, Any]:
    skip_task(room.desk, reviewer.name, group_id=body.group)
    return {"task": _task(room, reviewer)}


def _undo(room: Room, reviewer: Reviewer, body: Shown) -> dict[str, Any]:
    if body.group:
        check_group(room.desk.board, body.group)
    group = undo(room.desk, reviewer.name)
    return {"undone": group is not None, "task": _task(room, reviewer, group_id=group)}


def _lines(room: Room, _: Reviewer, body: Looked) -> dict[str, Any]:
    item = room.desk.board.items[find_row(room.desk.board, body.item)]
    if item["query_id"] is None:
        return {"query": [], "photo": []}
    lines = room.open_lines()(*keys_of(room, item))
    step = max(len(lines.query_xy) // _MOST_LINES, 1)
    return {"query": lines.query_xy[::step].tolist(), "photo": lines.photo_xy[::step].tolist()}


def _task(room: Room, reviewer: Reviewer, *, group_id: str | None = None) -> dict[str, Any] | None:
    task = next_task(room.desk, reviewer.name, group_id=group_id)
    if task is None:
        return None
    _know_photos(room, [*task.items, *task.upcoming])
    left, right = _sides(room, reviewer, task.items)
    first = [sides[0] for sides in _sides(room, reviewer, task.upcoming) if sides]
    soon = [side.get("whole") or side["src"] for side in first]
    return {
        "group": task.group_id,
        "lease": task.lease,
        "kind": "text" if task.items[0]["query_id"] is None else "pair",
        "items": [item["item_id"] for item in task.items],
        "left": left,
        "right": right,
        "soon": [address for address in soon if address],
        "waiting": task.n_waiting,
    }


def _know_photos(room: Room, items: Sequence[Mapping[str, Any]]) -> None:
    """Read the photos anew when 'curate' has brought items whose photos the server has not read yet."""
    missing = [
        item for item in items if item["query_id"] is not None and keys_of(room, item)[1] not in room.gallery.rows
    ]
    missing += [
        item for item in items if item["query_id"] is None and item["landmark_id"] not in room.gallery.of_landmark
    ]
    if missing:
        room.gallery = open_gallery(room.config, room.desk.board.store.read_items())


def _sides(
    room: Room, reviewer: Reviewer, items: Sequence[Mapping[str, Any]]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    if not items:
        return [], []
    if items[0]["query_id"] is None:
        photos = room.gallery.of_landmark.get(items[0]["landmark_id"], ())
        left = [_side(room, reviewer, key, f"Photo {n} of the landmark") for n, key in enumerate(photos, start=1)]
        kin = enumerate(room.gallery.kin.get(items[0]["landmark_id"], ()), start=1)
        queries = enumerate(room.gallery.queries, start=1)
        confirmed = [
            _side(room, reviewer, key, f"Photo {n} of a confirmed landmark") | {"tag": "Confirmed landmark"}
            for n, key in kin
        ]
        return left, [*confirmed, *(_side(room, reviewer, key, f"Evaluation query {n}") for n, key in queries)]
    query = keys_of(room, items[0])[0]
    right = [
        _side(room, reviewer, keys_of(room, item)[1], f"Training photo {n}") | {"item": item["item_id"]}
        for n, item in enumerate(items, start=1)
    ]
    probe = _side(room, reviewer, query, "Evaluation query")
    box = room.box(query) if query in room.gallery.rows else None
    if box:
        probe |= {"whole": picture_of(room, reviewer, query, "whole"), "box": box}
    return [probe], right


def _side(room: Room, reviewer: Reviewer, key: PhotoKey, alt: str) -> dict[str, Any]:
    views = {"src": "crop", "small": "small"}
    return {name: picture_of(room, reviewer, key, view) for name, view in views.items()} | {"alt": alt}


def _reveal(room: Room, answers: Mapping[str, str]) -> dict[str, Any]:
    """Return what was hidden, now that the vote is in."""
    item = room.desk.board.items[room.desk.board.row_of[next(iter(answers))]]
    landmark = room.gallery.names.get(item["landmark_id"], "")
    if item["origin"] == "gold":
        landmark = (
            item["image_id"].rstrip("0123456789_-").replace("_", " ")
        )  # or one could tell gold by its missing name
    counts: dict[str, int] = {}
    for answer in answers.values():
        counts[answer] = counts.get(answer, 0) + 1
    return {"landmark": landmark, "query": item["query_id"] or "", "answers": counts}


def _picture(request: Request) -> Response:
    room, reviewer = current_room(), signed_in(request)
    picture = None if reviewer is None else room.find(reviewer.name, request.path_params["name"])
    if picture is None:
        return Response(status_code=404)
    try:
        content = room.render(picture)
    except (DataError, KeyError):
        return Response(status_code=404)
    return Response(content, media_type="image/jpeg", headers={"Cache-Control": "private, max-age=3600, immutable"})


def _download(request: Request) -> Response:
    room = current_room()
    wanted = (request.path_params["release"], request.path_params["file"])
    for path in release_files(room):
        if (path.parent.name, path.name) == wanted:
            return FileResponse(path, filename=path.name, headers={"Cache-Control": "private, no-store"})
    return Response(status_code=404)


def checksum(path: Path, stamp: int) -> str:  # noqa: ARG001 (a changed file has another stamp)
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
