"""A report's findings a page at a time: the report and where to start in; findings and what follows out. Pure."""

from __future__ import annotations

from typing import Any

from pixtune.compliance.policy import Level
from pixtune.compliance.report import Report


def findings_page(report: Report, limit: int, start: int) -> tuple[list[dict[str, Any]], str | None]:
    """{example_id, level, check, code, where, detail} each, refused ones first; and where to go on."""
    every = [(name, finding) for name, found in report.findings.items() for finding in found]
    every.sort(key=lambda one: report.policy.level(one[1].check) is not Level.REFUSE)
    page = [
        {
            "example_id": name,
            "level": report.policy.level(finding.check).value,
            "check": finding.check,
            "code": finding.code,
            "where": finding.where,
            "detail": finding.detail,
        }
        for name, finding in every[start : start + limit]
    ]
    return page, str(start + limit) if start + limit < len(every) else None
