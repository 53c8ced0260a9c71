"""The audit as one HTML file: nothing is asked from elsewhere, and no text of others is taken for code."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from pathlib import Path
from typing import Any

from hnlmrec.reporting.audit.content import Audit
from hnlmrec.reporting.audit.parts import audit_parts
from hnlmrec.reporting.audit.users import UserDossiers
from hnlmrec.reporting.audit.words import summarise_audit
from hnlmrec.reporting.examples import OUTCOMES
from hnlmrec.reporting.inputs import ReportInputs
from hnlmrec.reporting.pages import page_file, write_page

DEFAULT_USERS = 200
_PLAIN_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


def write_audit(inputs: ReportInputs, out: Path, *, users: int = DEFAULT_USERS) -> Audit:
    """Write the audit of a run as one HTML file, and return what it says.

    Args:
        inputs: the folders of the stages; parts that a run has not are left out, which the page says.
        out: the file to write.
        users: users in the browser at most; those with generated negatives come first.

    Raises:
        MissingFileError: a result file is not there.
        DataError: a result file is not what it should be.
        MissingDependencyError: matplotlib is not installed.
    """
    audit = Audit(inputs)
    dossiers = UserDossiers(inputs, audit.drawn)
    chosen = dossiers.choose(users)
    total = max(sum(audit.grounding.values()), 1)
    titles = {**OUTCOMES, "failures": "no usable reply"}
    content = {
        "audit": audit_parts(audit),
        "summary": summarise_audit(audit),
        "grounding": [(titles[name], count, count / total) for name, count in audit.grounding.items()],
        "left_out": audit.left_out(),
    }
    hidden = inputs.dataset.n_users - len(chosen)
    write_page("audit.html.j2", content | _browser(inputs, dossiers, chosen) | {"hidden": hidden}, out)
    return audit


def write_user_audit(inputs: ReportInputs, folder: Path, user_id: str) -> tuple[Path, dict[str, Any]]:
    """Write the page of one user, audit-user-<id>.html, and return its path and what it says.

    An id that does not suit a file's name is replaced by the user's number: audit-user.<number>.html.

    Raises:
        UnknownIdError: there is no such user.
        MissingFileError: a result file is not there.
        DataError: a result file is not what it should be.
    """
    dossiers = UserDossiers(inputs, Audit(inputs).drawn)
    user = dossiers.number(user_id)
    name = f"-{user_id}" if _PLAIN_ID.fullmatch(user_id) else f".{user}"
    content: dict[str, Any] = {"audit": None, "summary": [], "grounding": [], "left_out": [], "hidden": 0}
    out = write_page(
        "audit.html.j2", content | _browser(inputs, dossiers, [user]), folder / f"audit-user{name}.html"
    )
    described = dossiers.of(user)
    return out, {**described, "items": dossiers.items([described])}


def embedded_json(value: Any) -> str:
    """Return JSON that can stand inside of a <script> element.

    Only ASCII is used, so no line separator and no lone surrogate is left; and no character with which HTML could
    begin a tag, a comment or an entity.
    """
    text = json.dumps(value, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _browser(inputs: ReportInputs, dossiers: UserDossiers, chosen: list[int]) -> dict[str, Any]:
    described = [dossiers.of(user) for user in chosen]
    script = page_file("audit.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return {
        "name": inputs.name,
        "data": embedded_json({"users": described, "items": dossiers.items(described)}),
        "script": script,
        "script_hash": f"sha256-{digest}",
    }
