"""What both logs of a master tell of its clients: a line of words in the debug log (T14), the same as members of JSON in the report log."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from fakeserver.events import Checkout
from fakeserver.seats import Grant


@dataclass(frozen=True, slots=True, kw_only=True)
class Logged:
    """Something that befell a checkout.  ``reason`` is empty where there is nothing to say; ``more`` stands in the report log alone."""

    word: Literal["OUT", "IN", "DENIED", "QUEUED", "DEQUEUED"]
    id: str
    feature: str
    version: str
    count: int
    holder: Mapping[str, object]
    reason: str = ""
    more: Mapping[str, object] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """The line of the debug log."""
        who = f"{self.holder.get('user', '?')}@{self.holder.get('host', '?')}"
        return f"{self.word}: {self.feature} {who}" + (f" ({self.reason})" if self.reason else "")

    @property
    def members(self) -> Mapping[str, object]:
        """What the report log says."""
        reason = {"reason": self.reason} if self.reason else {}
        told = {"event": self.word, "id": self.id, "feature": self.feature, "version": self.version, "count": self.count}
        return {**told, "holder": self.holder, **reason, **self.more}


def of_grant(word: Literal["OUT", "IN"], feature: str, grant: Grant, *, reason: str = "", seq: int) -> Logged:
    """A checkout that holds seats, or did until now; ``seq`` is its fencing token."""
    return Logged(
        word=word, id=grant.id, feature=feature, version=grant.version, count=grant.count, holder=grant.holder, reason=reason, more={"seq": seq}
    )


def of_request(word: Literal["DENIED", "QUEUED", "DEQUEUED"], request: Checkout, *, reason: str = "", **more: object) -> Logged:
    """A checkout that is asked for."""
    return Logged(
        word=word,
        id=request.id,
        feature=request.feature,
        version=request.version,
        count=request.count,
        holder=request.holder,
        reason=reason,
        more=more,
    )
