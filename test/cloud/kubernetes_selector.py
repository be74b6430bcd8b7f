"""Label selectors as an API server reads them from a URL."""

import re

_TERM = re.compile(
    r"\s*(?:!\s*(?P<absent>[^\s,()=!]+)"
    r"|(?P<key>[^\s,()=!]+)\s*(?:(?P<op>==|=|!=)\s*(?P<value>[^\s,()=!]*)"
    r"|\s(?P<set>in|notin)\s*\((?P<values>[^()]*)\))?)\s*(?:,|$)")


class SelectorError(Exception):
    """Text that is no selector."""


class Selector:
    """Requirements that must all hold; none selects everything."""

    def __init__(self, text):
        self.terms = []
        at = 0
        while at < len(text):
            match = _TERM.match(text, at)
            if match is None or match.end() == at:
                raise SelectorError("unable to parse requirement: %r" % text)
            at = match.end()
            self.terms.append(self._term(match))

    @staticmethod
    def _term(match):
        """(key, accepts a value or None)."""
        if match["absent"]:
            return match["absent"], lambda value: value is None
        if match["set"]:
            wanted = {v.strip() for v in match["values"].split(",")}
            if match["set"] == "in":
                return match["key"], lambda value: value in wanted
            return match["key"], lambda value: value not in wanted
        if match["op"] == "!=":
            return match["key"], lambda value: value != match["value"]
        if match["op"]:
            return match["key"], lambda value: value == match["value"]
        return match["key"], lambda value: value is not None

    def matches(self, labels):
        return all(accepts(labels.get(key)) for key, accepts in self.terms)
