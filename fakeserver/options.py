"""The options file at work: who is let in, for whom seats are kept, who is limited (G7).  Pure.

EXCLUDE is looked at first; then, where a feature has an INCLUDE list, whether somebody is on it; then MAX; then RESERVE.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from fakeserver.replies import Reply, problem
from fakeserver.seats import Grant
from palclient.optionsfile import OptionRule, OptionsFile

Holder = Mapping[str, object]

ADDRESS = "127.0.0.1"  # from where clients of a fake server come


class Rules:
    """An options file, asked about one feature and one holder at a time.

    ``versions`` are those of the license lines of each feature: a rule that is narrowed to one version (``RISK_IND80:VERSION=8.0``) holds for the
    feature if one of its lines has that version, and else for nothing.  Other narrowings are not played.
    """

    def __init__(self, options: OptionsFile, versions: Mapping[str, frozenset[str]]) -> None:
        self._options = options
        self._versions = versions
        self._linger_s = {rule.feature: float(rule.linger_s or 0) for rule in reversed(options.rules) if rule.keyword == "LINGER"}

    def refusal(self, feature: str, holder: Holder) -> Reply | None:
        """Why somebody is not let in, whatever is free; None when there is no such reason."""
        out = next((rule for rule in self._about(feature, "EXCLUDE", "EXCLUDEALL") if self._is_meant(rule, holder)), None)
        if out is not None:
            return problem("excluded", f"Line {out.line} of the options file excludes {out.type} {out.name}.", feature=feature)
        lists = self._about(feature, "INCLUDE", "INCLUDEALL")
        if lists and not any(self._is_meant(rule, holder) for rule in lists):
            lines = ", ".join(str(rule.line) for rule in lists[:10])
            return problem("not-included", f"The options file lets others in, and not this one (line {lines}).", feature=feature)
        return None

    def is_counting(self, feature: str) -> bool:
        """Whether it matters who holds what of this feature."""
        return bool(self._about(feature, "MAX", "RESERVE"))

    def over_max(self, feature: str, holder: Holder, count: int, held: Iterable[Grant]) -> Reply | None:
        """Why ``count`` seats more are too many for somebody, given what is held of the feature; None when they are not."""
        held = tuple(held)
        for rule in self._about(feature, "MAX"):
            if not self._is_meant(rule, holder):
                continue
            has = sum(grant.count for grant in held if self._is_meant(rule, grant.holder))
            if has + count > (rule.count or 0):
                detail = f"{rule.type} {rule.name} may have {rule.count} seats of {feature!r} (line {rule.line} of the options file), and has {has}."
                return problem("over-max", detail, feature=feature, in_use=has, total=rule.count)
        return None

    def reserved(self, feature: str, held: Iterable[Grant], *, besides: Holder | None = None) -> int:
        """How many seats that nobody holds are kept; ``besides`` those kept for this holder.

        A seat that is held counts for the first reservation that is for its holder and has room.
        """
        rules = self._about(feature, "RESERVE")
        left = [rule.count or 0 for rule in rules]
        for grant in held:
            seats = grant.count
            for index, rule in enumerate(rules):
                if seats and left[index] and self._is_meant(rule, grant.holder):
                    used = min(seats, left[index])
                    left[index], seats = left[index] - used, seats - used
        return sum(count for count, rule in zip(left, rules, strict=True) if besides is None or not self._is_meant(rule, besides))

    def linger_s(self, feature: str) -> float:
        """For how long a seat that was given back stays taken, in seconds."""
        return self._linger_s.get(feature, 0.0)

    def _about(self, feature: str, *keywords: str) -> list[OptionRule]:
        return [rule for rule in self._options.rules if rule.keyword in keywords and rule.feature in {feature, None} and self._is_played(rule)]

    def _is_played(self, rule: OptionRule) -> bool:
        if rule.qualifier is None:
            return True
        key, value = rule.qualifier
        return key == "VERSION" and value in self._versions.get(rule.feature or "", frozenset())

    def _is_meant(self, rule: OptionRule, holder: Holder) -> bool:
        user, host, display = (str(holder.get(name, "")) for name in ("user", "host", "display"))
        return self._options.is_meant(rule, user=user, host=host, display=display, address=ADDRESS)
