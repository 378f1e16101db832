"""/v1/datasets/{dataset}: samples/{sample_id}/review, reviews, review-queue"""

from __future__ import annotations

from fastapi import APIRouter, Response

from app.api.answers import json_answer
from app.api.dependencies import Cursor, DatasetDep, Limit, ServiceDep
from app.api.review_schemas import QueueOut, ReviewIn, ReviewOut, ReviewPage, SampleReviews
from app.services import reviews as use
from app.services.review_queue import first_to_review

router = APIRouter(prefix="/v1/datasets/{dataset}", tags=["reviews"])


@router.post("/samples/{sample_id}/review")
def post_review(dataset: DatasetDep, service: ServiceDep, sample_id: str, body: ReviewIn) -> ReviewOut:
    """Records a verdict on the sample's label, and the right label with it; the same one twice is one."""
    made = use.add_review(service.state, dataset, sample_id, body.verdict, body.label)
    return ReviewOut.model_validate(use.shown_review(made))


@router.delete("/samples/{sample_id}/review")
def undo_review(dataset: DatasetDep, service: ServiceDep, sample_id: str) -> ReviewOut:
    """Takes back the last verdict, and the label that it brought where that is still there."""
    made = use.take_back(service.state, dataset, sample_id)
    return ReviewOut.model_validate(use.shown_review(made))


@router.get("/samples/{sample_id}/review")
def get_review(dataset: DatasetDep, service: ServiceDep, sample_id: str) -> SampleReviews:
    """The verdict in force on the sample as it is, and every review of it."""
    return SampleReviews.model_validate(use.reviews_of(service.state, dataset, sample_id))


@router.get("/reviews")
def get_reviews(
    dataset: DatasetDep, service: ServiceDep, limit: Limit = 100, cursor: Cursor = None
) -> ReviewPage:
    """Every review of the dataset, oldest first."""
    return ReviewPage.model_validate(use.list_reviews(service.state, dataset, limit, cursor))


@router.get("/review-queue", response_model=QueueOut)
def get_review_queue(dataset: DatasetDep, service: ServiceDep, limit: Limit = 20) -> Response:
    """The rows of the present sets whose verdict would teach most: probable errors and uncertain ones by
    turns, from every class. Reviewed ones are left out."""
    return json_answer(first_to_review(service.state, service.versions, dataset, limit))
