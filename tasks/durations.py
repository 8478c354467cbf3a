"""How long something took, in words. `when.js` says the same in the browser."""

from __future__ import annotations

from django.utils.translation import gettext as _


def in_words(seconds: float) -> str:
    """ "3 min 12 s": two units at most."""
    s = int(max(seconds, 0))
    m, h, d = s // 60, s // 3600, s // 86400
    if s < 1:
        return _("under a second")
    if m < 1:
        return _("%(s)d s") % {"s": s}
    if h < 1:
        return (_("%(m)d min %(s)d s") if s % 60 else _("%(m)d min")) % {"m": m, "s": s % 60}
    if d < 1:
        return (_("%(h)d h %(m)d min") if m % 60 else _("%(h)d h")) % {"h": h, "m": m % 60}
    return (_("%(d)d d %(h)d h") if h % 24 else _("%(d)d d")) % {"d": d, "h": h % 24}
