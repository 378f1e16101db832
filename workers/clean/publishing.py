"""Makes the flags of a clean job the ones that hold."""

from __future__ import annotations

from app.contracts import Dataset
from app.errors import NotFound
from workers.ground import Ground


def publish_flags(ground: Ground, dataset: Dataset) -> None:
    """Names the job in the dataset's meta hash and its manifest; its flags hold once it has succeeded.

    Bears repetition.

    Raises:
        StaleWorker: the job is another worker's by now.
        NotFound: the dataset was deleted.
    """

    def publish() -> None:
        with ground.state.datasets.writing(dataset):
            ground.lease.hold()
            ground.state.durably(lambda: _name(ground, dataset))
            ground.state.archive.save_manifest(dataset)

    ground.when_free(publish)


def _name(ground: Ground, dataset: Dataset) -> None:
    state, job_id = ground.state, ground.claim.job.id
    held = state.datasets.by_uid(dataset.uid)
    if held is None:
        raise NotFound("unknown_dataset", "the dataset was deleted meanwhile")
    if held.flags[:1] == (job_id,):
        return
    in_force = state.flags.job_in_force(held)
    named = [job_id] if in_force is None else [job_id, in_force]
    state.datasets.save_flags(held, named)
    others = [other for other in state.jobs.unfinished_of(dataset.uid) if other != job_id]
    if not any(state.jobs.get(other).attempt for other in others):  # one that has begun may need older flags
        state.flags.forget_all_but(dataset.uid, set(named))
