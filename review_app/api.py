"""The routes of our own: what to show next, answers, pictures, inliers, downloads. The guard stands before all."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from overlap.errors import DataError, OverlapError, ReviewError
from overlap.review.desk import answer_task, next_task, skip_task, undo
from overlap.review.queue import GOLD_PREFIX
from overlap.review.reviewers import Reviewer
from overlap.steps.desk import PhotoKey, open_gallery
from review_app.access import log_in, log_out, login_page, signed_in, use_ticket
from review_app.room import Picture, Room, current_room

_LONGEST_NOTE = 2000
_MOST_LINES = 120


def routes() -> list[Route]:
    """Return the routes to mount beside Streamlit's."""
    return [
        Route("/login", login_page, methods=["GET"]),
        Route("/login", log_in, methods=["POST"]),
        Route("/logout", log_out, methods=["POST", "GET"]),
        Route("/session", use_ticket, methods=["GET"]),
        Route("/api/task", _posted(_show), methods=["POST"]),
        Route("/api/answer", _posted(_answer), methods=["POST"]),
        Route("/api/skip", _posted(_skip), methods=["POST"]),
        Route("/api/undo", _posted(_undo), methods=["POST"]),
        Route("/api/lines", _posted(_lines), methods=["POST"]),
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


_Action = Callable[[Room, Reviewer, Mapping[str, Any]], Mapping[str, Any]]


def _posted(action: _Action) -> Callable[[Request], Any]:
    async def endpoint(request: Request) -> Response:
        # A page of another site can't send this header with the reviewer's cookie.
        if request.headers.get("x-overlap") != "1":
            return JSONResponse({"error": "send this from the app"}, status_code=403)
        room, reviewer = current_room(), signed_in(request)
        if reviewer is None:
            return JSONResponse({"error": "log in first"}, status_code=401)
        try:
            body = await request.json()
            said = await run_in_threadpool(action, room, reviewer, body if isinstance(body, dict) else {})
        except ReviewError as error:
            return JSONResponse({"error": str(error)}, status_code=409)
        except (KeyError, TypeError, ValueError) as error:
            return JSONResponse({"error": f"this request is not one of the app: {error}"}, status_code=400)
        except OverlapError as error:
            return JSONResponse({"error": str(error)}, status_code=500)
        soon = said.get("task", {}).get("soon", []) if said.get("task") else []
        return JSONResponse(said, background=BackgroundTask(_render_ahead, room, reviewer, soon))

    return endpoint


def _render_ahead(room: Room, reviewer: Reviewer, addresses: Sequence[str]) -> None:
    for address in addresses:
        picture = room.find(reviewer.name, address.rsplit("/", 1)[-1])
        try:
            if picture is not None:
                room.render(picture)
        except DataError:
            continue


def _show(room: Room, reviewer: Reviewer, body: Mapping[str, Any]) -> dict[str, Any]:
    group = body.get("group")
    return {"task": _task(room, reviewer, group_id=str(group) if group else None)}


def _answer(room: Room, reviewer: Reviewer, body: Mapping[str, Any]) -> dict[str, Any]:
    answers = {str(item): str(answer) for item, answer in body["answers"].items()}
    seconds = body.get("seconds")
    saved = answer_task(
        room.desk,
        reviewer.name,
        group_id=str(body["group"]),
        lease=str(body["lease"]),
        client_seq=int(body["seq"]),
        answers=answers,
        seconds=None if seconds is None else min(max(float(seconds), 0.0), 86_400.0),
        note=str(body.get("note") or "")[:_LONGEST_NOTE] or None,
    )
    return {"saved": saved, "before": _reveal(room, answers), "task": _task(room, reviewer)}


def _skip(room: Room, reviewer: Reviewer, body: Mapping[str, Any]) -> dict[str, Any]:
    skip_task(room.desk, reviewer.name, group_id=str(body["group"]))
    return {"task": _task(room, reviewer)}


def _undo(room: Room, reviewer: Reviewer, _: Mapping[str, Any]) -> dict[str, Any]:
    group = undo(room.desk, reviewer.name)
    return {"undone": group is not None, "task": _task(room, reviewer, group_id=group)}


def _lines(room: Room, _: Reviewer, body: Mapping[str, Any]) -> dict[str, Any]:
    item = room.desk.board.items[room.desk.board.row_of[str(body["item"])]]
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
    left = _side(room, reviewer, query, "Evaluation query")
    box = room.box(query) if query in room.gallery.rows else None
    if box:
        left |= {"whole": picture_of(room, reviewer, query, "whole"), "box": box}
    return [left], right


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
