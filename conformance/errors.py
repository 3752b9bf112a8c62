"""Everything that the suite raises for a person to read.

ConformanceError
  · TargetError         target.toml or providers.toml cannot be used
  · ScenarioError       a scenario or fault on the command line, in a file or mutant, makes no sense
  · CommandError        a command cannot do what it is told
  · ExtensionError      a fault or promise of another distribution cannot be used
  · MutantError         a mutant cannot be read, or fits the application no longer
  · PathError           a path does not go as declared without any fault
  · FaultNotProven      a fault that was injected did not show
  · WitnessError        the witness refused what it was asked
  · ClusterError        a cluster could not be had, or does not obey

Each stands beside what raises it.
"""

from __future__ import annotations


class ConformanceError(Exception):
    """Base of all errors of the suite; the message says what is wrong and what to do."""


class ExtensionError(ConformanceError):
    """A fault or promise of another distribution that cannot be used; says whose."""
