"""The whole application in one process, on an engine and a clock that we hold.

The real API, store, relay, courier, reconciler, audit, activities, workflows and watcher, N times,
and the real witness; around them an event loop whose time jumps, a network that loses, delays and
repeats, and an engine that runs the SDK's own executor and does everything that Dapr was seen to
do. A schedule says what happens and when; the same schedule gives the same log, byte for byte.

It is no substitute for the real runtime: the engine here is what we have understood of Dapr, and
what we have not understood it cannot show. Recorded runs of the real runtime have to be runs of
the simulation too (a test), and every bug found in one is looked for in the other.
"""
