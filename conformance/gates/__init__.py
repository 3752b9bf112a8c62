"""The sidecar gate: a generic gRPC proxy between a worker, in any SDK's language, and its sidecar.

Points are named in the order in which one instance crosses them, counted from 1:

- `start:request`, `start:response`: `StartInstance` on its way to the sidecar, and its answer;
- `event:N:request`, `event:N:response`: the N-th `RaiseEvent` of the instance;
- `turn:N:dispatch`, `turn:N:completion`: a workflow turn on its way to the worker, and its answer.
  N - 1 completions were acknowledged before, so a turn that is dispatched again is the same turn;
- `activity:NAME:K:dispatch`, `activity:NAME:K:completion`: the K-th distinct activity of the name.
  A task that is dispatched again is the same one;
- `end:acknowledged`: the completion that ends the instance was acknowledged.

The witness's own boundaries, `effect:OPERATION:N:before` and `:after`, are held by the witness.
"""
