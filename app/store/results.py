"""Files that jobs leave for good: `results/<dataset uid>/<job id>/…` under GRADSIFT_DATA_URL."""

from __future__ import annotations

from collections.abc import Set

from app.store.artifacts import Folder
from app.store.explanations import Explanation
from app.store.locations import join_location, remove_tree

FOLDER = "results"
REPORT_JSON, REPORT_HTML = "report.json", "report.html"
MODEL = "model"
"""The folder of a trained model, as transformers writes and reads it."""


class ResultStore:
    def __init__(self, data_url: str) -> None:
        self._data_url = data_url

    def of_job(self, dataset_uid: str, job_id: str) -> Folder:
        return Folder(join_location(self._data_url, FOLDER, dataset_uid, job_id))

    def folder(self, dataset_uid: str) -> Folder:
        """All of a dataset, for those who copy it: `<job id>/…`."""
        return Folder(join_location(self._data_url, FOLDER, dataset_uid))

    def drop_explanations(self, dataset_uid: str, kept: Set[str]) -> None:
        """Of all jobs but these."""
        jobs = {name.partition("/")[0] for name in self.folder(dataset_uid).names()}
        for job_id in jobs - kept:
            Explanation(self.of_job(dataset_uid, job_id)).remove()

    def drop(self, dataset_uid: str) -> None:
        """Removes all of a dataset."""
        remove_tree(join_location(self._data_url, FOLDER, dataset_uid))
