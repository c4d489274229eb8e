"""Fill the report from tables: facts, galleries, scores, and thumbnails of the photos it shows."""

import pyarrow as pa
import pyarrow.compute as pc

from overlap.base.config import Config
from overlap.base.errors import DataError
from overlap.base.images import PhotoLimits, encode_jpeg, load_photo, resize_within
from overlap.base.store import Store
from overlap.base.tables import QUARANTINE, VOTES
from overlap.decisions.decide import Decision, describe_review
from overlap.decisions.policy import Policy
from overlap.pipeline.decisions import Material
from overlap.pipeline.declared import STEPS
from overlap.pipeline.defence import (
    agreement_facts,
    compare_shipped,
    draw_plots,
    rank_before_and_after,
    read_audit_view,
)
from overlap.pipeline.photos import read_photos, read_quarantine
from overlap.pipeline.run import is_current, read_record
from overlap.report.gather import (
    Evidence,
    Limits,
    count_answers,
    count_statuses,
    first_quarantined,
    gather_landmarks,
    split_scores,
)
from overlap.report.page import Fact, ReportContent, Thumbnail
from overlap.report.tables import OverlapRow, SizesRow
from overlap.verify.pairs import threshold_of

_THUMBNAIL_PX = 320


def gather_content(
    config: Config,
    policy: Policy,
    decision: Decision,
    material: Material,
    *,
    overlap: tuple[OverlapRow, ...],
    sizes: tuple[SizesRow, ...],
) -> ReportContent:
    """Gather everything that the report shows."""
    threshold = threshold_of(config.verify)
    by_votes = policy.evidence == "votes"
    votes = material.votes if by_votes else VOTES.empty_table()
    evidence = Evidence(
        decision.items,
        decision.landmarks,
        votes,
        material.verified,
        threshold,
        photos=_text_photos(config, decision.items),
    )
    landmarks = gather_landmarks(evidence)
    audit = read_audit_view(config)
    quarantine = read_quarantine(config) if is_current(config, "features") else QUARANTINE.empty_table()
    return ReportContent(
        title=config.name,
        training_set=config.train.format,
        overlap=overlap,
        sizes=sizes,
        review=describe_review(decision.rule, decision.n_for_removals, decision.n_for_figures) if by_votes else "",
        facts=_facts(config, policy, decision, material, votes),
        settings=config.model_dump_json(indent=2, exclude={"store": True, "run": True, "review": {"database"}}),
        removed=landmarks.removed,
        kept=landmarks.kept,
        n_kept=landmarks.n_kept,
        text=landmarks.text,
        proposed=landmarks.proposed,
        rankings=rank_before_and_after(config, decision.removals),
        policies=compare_shipped(config, policy, material),
        audit=audit,
        plots=draw_plots(config, material, audit),
        agreement=agreement_facts(config) if votes.num_rows else (),
        scores=split_scores(material.verified, decision.items, threshold=threshold),
        statuses=count_statuses(material.verified),
        votes=count_answers(votes),
        quarantine=first_quarantined(quarantine),
        n_quarantined=quarantine.num_rows,
        seconds=_seconds(config),
        confirming=decision.rule.confirming,
    )


def make_thumbnails(config: Config, limits: PhotoLimits) -> Thumbnail:
    """Return what gives the JPEG thumbnail of a photo by its source and id: queries cropped; None when it is gone."""
    if not is_current(config, "photos"):
        return lambda source, image_id: None
    tables: dict[str, pa.Table] = {config.train.format: read_photos(config, "train")}
    probes = pa.concat_tables([read_photos(config, "queries"), read_photos(config, "evaluation")])
    tables |= {
        evaluation.name: probes.filter(pc.equal(probes["source"], evaluation.name)) for evaluation in config.evaluation
    }

    def thumbnail(source: str, image_id: str) -> bytes | None:
        row = pc.index(tables[source]["image_id"], image_id).as_py() if source in tables else -1
        if row < 0:
            return None
        try:
            pixels = load_photo(tables[source].slice(row, 1).to_pylist()[0], limits=limits)
        except DataError:
            return None
        return encode_jpeg(resize_within(pixels, _THUMBNAIL_PX), quality=80)

    return thumbnail


def _facts(config: Config, policy: Policy, decision: Decision, material: Material, votes: pa.Table) -> tuple[Fact, ...]:
    facts = [
        Fact("Policy", f"{policy.name} (version {policy.version}): {policy.description}"),
        Fact("Training set", f"{config.train.format}, {pc.sum(material.landmarks['n_images']).as_py() or 0:,} photos"),
        Fact("Global descriptors", config.descriptors.kind),
        Fact("Search", f"the {config.search.k} nearest photos of each query, {config.search.index}"),
        Fact("Local features", f"{config.verify.features}, threshold {threshold_of(config.verify):g}"),
        Fact("Verified pairs", f"{material.verified.num_rows:,}"),
        Fact("Review items", f"{decision.items.num_rows:,}"),
    ]
    if policy.evidence == "votes":
        n_reviewers = len(set(votes["reviewer"].to_pylist()))
        facts.append(Fact("Votes", f"{votes.num_rows:,} by {n_reviewers} reviewers"))
    return tuple(facts)


def _seconds(config: Config) -> dict[str, float]:
    records = (read_record(Store(config.store), step) for step in STEPS)
    return {record.step: record.seconds for record in records if record is not None}


def _text_photos(config: Config, items: pa.Table) -> dict[int, list[str]]:
    """Return some photos of every landmark that is a text candidate."""
    if not is_current(config, "photos"):
        return {}
    images = read_photos(config, "train")
    wanted = pc.unique(items.filter(pc.is_null(items["image_id"]))["landmark_id"])
    found: dict[int, list[str]] = {}
    for row in images.filter(pc.is_in(images["landmark_id"], value_set=wanted)).to_pylist():
        found.setdefault(row["landmark_id"], []).append(row["image_id"])
    return {landmark_id: image_ids[: Limits().photos_per_gallery] for landmark_id, image_ids in found.items()}
