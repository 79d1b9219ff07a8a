"""What a review says as JSON values, and back: for the record of an unchanged tree, and between its processes."""

from __future__ import annotations

from typing import Any

from harness.review.finding import Finding, Place, Showing, StaticReview, Unread

Said = Finding | Showing


def said_to_json(said: Said) -> dict[str, Any]:
    """A finding or a showing as a JSON object."""
    place = None if said.place is None else [said.place.path, said.place.line, said.place.column]
    if isinstance(said, Finding):
        return {
            "rule": said.rule,
            "certainty": said.certainty,
            "place": place,
            "message": said.message,
            "fix": said.fix,
            "allowed": said.allowed,
        }
    return {"item": said.item, "state": said.state, "text": said.text, "place": place, "measured": said.is_measured}


def said_from_json(value: dict[str, Any]) -> Said:
    """What `said_to_json` wrote.

    Raises:
        KeyError, TypeError, ValueError: it was not written by it.
    """
    place = None
    if value["place"] is not None:
        path, line, column = value["place"]
        place = Place(path=path, line=line, column=column)
    if "rule" in value:
        return Finding(
            rule=value["rule"],
            certainty=value["certainty"],
            place=place,
            message=value["message"],
            fix=value["fix"],
            allowed=value["allowed"],
        )
    return Showing(
        item=value["item"], state=value["state"], text=value["text"], place=place, is_measured=value["measured"]
    )


def review_to_record(review: StaticReview) -> dict[str, Any]:
    """A review as a record of the cache."""
    return {
        "schema": 1,
        "findings": [said_to_json(one) for one in review.findings],
        "showings": [said_to_json(one) for one in review.showings],
        "unread": [[one.path, one.reason] for one in review.unread],
        "num_files": review.num_files,
    }


def review_from_record(record: dict[str, Any]) -> StaticReview | None:
    """The review of a record, or None where it is none: it is only a cache."""
    try:
        findings = tuple(said_from_json(one) for one in record["findings"])
        showings = tuple(said_from_json(one) for one in record["showings"])
        unread = tuple(Unread(path=str(path), reason=str(reason)) for path, reason in record["unread"])
        num_files = int(record["num_files"])
    except (KeyError, TypeError, ValueError, AttributeError):
        return None
    if not all(isinstance(one, Finding) for one in findings) or not all(isinstance(one, Showing) for one in showings):
        return None
    return StaticReview(
        findings=tuple(one for one in findings if isinstance(one, Finding)),
        showings=tuple(one for one in showings if isinstance(one, Showing)),
        unread=unread,
        num_files=num_files,
    )
