# The program and nothing else: no shell, no libraries. The API server's certificate is checked against the service
# account's ca.crt, so no certificate bundle either. The context is target/image, which config/image/build.sh fills:
#   make image IMAGE=registry.example.com/pytorchjob-operator:0.1.0
FROM scratch
ARG VERSION REVISION
LABEL org.opencontainers.image.title="pytorchjob-operator" \
      org.opencontainers.image.description="Kubernetes operator for kubeflow.org/v1 PyTorchJob" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION"
COPY . /
USER 65532:65532
EXPOSE 8080 8081
ENTRYPOINT ["/pytorchjob-operator"]
