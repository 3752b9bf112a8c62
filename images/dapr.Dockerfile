# Dapr's services and Toxiproxy: static binaries, and nothing else. Whatever user a container runs as
# may write to /data and /tmp.
FROM scratch
COPY root /
USER 65532:65532
WORKDIR /data
