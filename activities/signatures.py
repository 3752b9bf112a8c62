"""Events that carry their own proof, for whoever raises them past the API with the Dapr CLI."""

from __future__ import annotations

import hashlib
import hmac
import json
from abc import abstractmethod
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from store import clock


class Signed(BaseModel):
    """An event with a signature; `expires` is seconds since 1970."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    expires: int
    signature: str = Field(max_length=200)

    @abstractmethod
    def content(self) -> list[Any]:
        """What is signed, beside the instance and the moment of expiry."""

    def expected(self, key: str, instance: str) -> str:
        """The signature that this event must carry for this instance."""
        text = json.dumps([instance, *self.content(), self.expires], separators=(",", ":"))
        return hmac.new(key.encode(), text.encode(), hashlib.sha256).hexdigest()

    def flaw(self, key: str, instance: str) -> str | None:
        """What is wrong with the signature, if anything is."""
        expected = self.expected(key, instance)
        if not key or not hmac.compare_digest(self.signature.encode(), expected.encode()):
            return "the signature is not for this event"
        return "it has expired" if self.expires < clock.now().timestamp() else None


def decoded(raised: Any) -> Any:
    """What was raised: the input of the Dapr CLI arrives as text."""
    if not isinstance(raised, str):
        return raised
    try:
        return json.loads(raised)
    except ValueError:
        return raised
