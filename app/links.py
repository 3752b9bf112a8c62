"""Signed links that let one person decide on one approval, once, without any other credential."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import RowMapping

from app.errors import Problem
from app.settings import Settings, SigningKey
from app.tokens import LINK_AUDIENCE, mint, read
from store.records import content_hash


@dataclass(frozen=True)
class Link:
    """What a good link says. Its event id is its own, so it decides at most once."""

    instance: str
    person: str
    roles: frozenset[str]
    event_id: str


def _keys(settings: Settings) -> dict[str, SigningKey]:
    return {"link": SigningKey(secret=settings.decision_key)}


def link_for(settings: Settings, record: RowMapping, person: str) -> str | None:
    """The link of a person for an approval, the same whenever it is made; good until it expires."""
    if not settings.decision_key.get_secret_value():
        return None
    request = record["input"]
    expires = record["accepted_at"] + timedelta(seconds=request["expire_after"])
    role = "director" if person == request["director"] else "approver"
    claims = {
        "sub": person,
        "instance": record["id"],
        "role": role,
        "jti": content_hash([record["id"], person])[:32],
        "exp": int(expires.timestamp()) + 1,
    }
    token = mint(_keys(settings), "link", LINK_AUDIENCE, claims)
    return f"{settings.public_url.rstrip('/')}/approvals/{record['id']}/decide?token={token}"


def open_link(settings: Settings, instance: str, token: str) -> Link:
    """What a link allows.

    Raises:
        Problem: 401, it is not good, not for this approval, or there are no links.
    """
    if not settings.decision_key.get_secret_value():
        raise Problem(401, "bad-token", "Token refused", "there are no links: use the API")
    claims: dict[str, Any] = read(_keys(settings), LINK_AUDIENCE, token)
    if claims.get("instance") != instance:
        raise Problem(401, "bad-token", "Token refused", "it is for another approval")
    return Link(
        instance=instance,
        person=str(claims["sub"]),
        roles=frozenset({str(claims.get("role"))}),
        event_id=f"link-{claims.get('jti')}",
    )
