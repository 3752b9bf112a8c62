"""A conformance suite for Dapr workflow applications: every boundary, one fault, judged outside.

It runs an application that a `target.toml` describes (`contract`) on a real runtime (`clusters`),
stands on the links between it and the world (`gates`, the witness), finds every *point* that an
instance crosses (`points`), holds one instance at each, faults one process or link once (`batch`),
and judges what the witness's ledger shows by `promises`. It imports nothing of any application.

Words: a *target* is an application under test. The *witness* is `downstream/` with its ledger,
configured for the target. A *path* is one way through a workflow. A *point* is a boundary that an
instance crosses on its path. A *victim* is a process, a *fault* what happens to it. A *scenario*
is a path, a point, a victim and a fault; a *verdict* is pass, fail or unknown.
"""
