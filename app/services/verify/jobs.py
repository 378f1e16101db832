"""Job records, the index, the queue, the leases and who runs on which dataset: against each other."""

from __future__ import annotations

from app.contracts import JobState
from app.services.verify.findings import Finding, Findings
from app.store.inspection import Inspection
from app.store.state import State


def check_jobs(state: State, inspection: Inspection) -> Findings:
    keys = state.keys.jobs
    found = []
    for job_id in sorted(inspection.job_ids()):
        known, index, queue, leases = inspection.job(job_id)
        if known is None:
            detail = f"job {job_id} is listed, but has no record"
            found.append(Finding("jobs", detail, key=keys.record(job_id)))
            continue
        if not index:
            found.append(Finding("jobs", f"job {job_id} is not in the index", key=keys.index))
        if queue != (known == JobState.QUEUED):
            place = "is in the queue" if queue else "is not in the queue"
            found.append(Finding("jobs", f"job {job_id} is {known}, but {place}", key=keys.queue))
        if leases != (known == JobState.RUNNING):
            place = "has a lease" if leases else "has no lease"
            found.append(Finding("jobs", f"job {job_id} is {known}, but {place}", key=keys.leases))
    for uid, job_id in inspection.busy().items():
        known, *_ = inspection.job(job_id)
        if known != JobState.RUNNING and inspection.busy().get(uid) == job_id:
            detail = f"dataset {uid} waits for job {job_id}, which is {known or 'gone'}"
            found.append(Finding("jobs", detail, key=keys.busy))
    return found
