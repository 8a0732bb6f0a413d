"""Rows and the checks to make in; what each check finds on each example, and how many pass, out. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from pixtune.compliance.policy import CHECKS, CompliancePolicy, Level
from pixtune.examples.rows import Row


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check objects to in one example. code: stable. where: the field or upload. detail: for people; personal
    data is never repeated in it."""

    check: str
    code: str
    where: str
    detail: str

    def __str__(self) -> str:
        return f"{self.where}: {self.detail} ({self.check}, {self.code})"


class Check(Protocol):
    """One question asked of every row; whatever it needs from outside was asked before."""

    @property
    def name(self) -> str:
        """One of policy.CHECKS, or that of a check of one's own."""
        ...

    def look(self, row: Row) -> Iterable[Finding]: ...


@dataclass(frozen=True, slots=True)
class Report:
    """A version's compliance, as it is stored beside it.

    asked: check -> who outside was asked. summary: check -> {passed, warned, refused}, in examples; a check that is
    off, or could not be made, is not there. findings: by example id, those with any. notes: what was not checked.
    """

    dataset: str
    version: int
    policy: CompliancePolicy
    asked: Mapping[str, str]
    summary: Mapping[str, Mapping[str, int]]
    findings: Mapping[str, tuple[Finding, ...]]
    notes: tuple[str, ...] = ()

    def refused(self) -> list[tuple[str, Finding]]:
        """Example ids with the findings that the policy refuses."""
        return [
            (example_id, finding)
            for example_id, findings in self.findings.items()
            for finding in findings
            if self.policy.level(finding.check) is Level.REFUSE
        ]

    def warnings(self) -> list[str]:
        """What a person should know before paying: each check that warned, with its first finding, and the notes."""
        told = []
        for check, counts in self.summary.items():
            if counts["warned"]:
                example_id, first = next(
                    (name, finding)
                    for name, found in self.findings.items()
                    for finding in found
                    if finding.check == check
                )
                told.append(
                    f"The check {check!r} warns of {counts['warned']} examples, such as {example_id}: {first}."
                )
        return [*told, *self.notes]

    def to_json(self) -> dict[str, Any]:
        return {
            "dataset": self.dataset,
            "version": self.version,
            "policy": self.policy.to_json(),
            "asked": dict(self.asked),
            "summary": {check: dict(counts) for check, counts in self.summary.items()},
            "findings": {name: [asdict(finding) for finding in found] for name, found in self.findings.items()},
            "notes": list(self.notes),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Report:
        return cls(
            data["dataset"],
            int(data["version"]),
            CompliancePolicy.from_json(data["policy"]),
            data["asked"],
            data["summary"],
            {name: tuple(Finding(**finding) for finding in found) for name, found in data["findings"].items()},
            tuple(data["notes"]),
        )


def examine(rows: Sequence[Row], checks: Iterable[Check]) -> dict[str, tuple[Finding, ...]]:
    """All findings by example id, in the rows' order; examples without any are left out."""
    made = list(checks)
    found = {row.example_id: tuple(finding for check in made for finding in check.look(row)) for row in rows}
    return {example_id: findings for example_id, findings in found.items() if findings}


def summarise(
    rows: int, made: Iterable[str], findings: Mapping[str, Sequence[Finding]], policy: CompliancePolicy
) -> dict[str, dict[str, int]]:
    """Check -> {passed, warned, refused}, counted in examples, for the checks that were made."""
    counts = {}
    for check in sorted(made, key=lambda name: CHECKS.index(name) if name in CHECKS else len(CHECKS)):
        hit = sum(any(finding.check == check for finding in found) for found in findings.values())
        refuses = policy.level(check) is Level.REFUSE
        counts[check] = {
            "passed": rows - hit,
            "warned": 0 if refuses else hit,
            "refused": hit if refuses else 0,
        }
    return counts
