"""The promises, shown by experiments: a hub on loopback, faults, a recording, a checker.

`make test` runs the quick tier, `make faults` everything at full counts. An experiment is a test that bears the
mark `experiment`; what it measured goes to `docs/faults.md` through the fixture `report`.
"""
