# A Redis server. What it keeps is a matter of how it is started.
ARG BASE=redis:7
ARG DEBIAN=redis-server
FROM ${BASE}
ENTRYPOINT ["redis-server"]
