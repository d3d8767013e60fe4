# syntax=docker/dockerfile:1
# The version is that of rust-toolchain.toml; .ci/run compares them.
FROM rust:1.95.0-alpine AS build
# jemalloc is built from C.
RUN apk add --no-cache gcc make musl-dev
# Alpine's Rust links musl statically. The variable keeps rustup from installing the developers' components.
ENV RUSTUP_TOOLCHAIN=1.95.0
WORKDIR /build
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/build/target \
    cargo build --locked --release --bin pytorchjob-operator && \
    mkdir /image && cp target/release/pytorchjob-operator /image/ && \
    ln -s pytorchjob-operator /image/manager

# No shell, no libraries, no files but the program. The API server's certificate is checked against the service account's
# ca.crt, so no certificate bundle either. /manager is what the Deployment of Kubeflow's training-operator runs.
FROM scratch
COPY --from=build /image/ /
USER 65532:65532
EXPOSE 8080 8081
ENTRYPOINT ["/pytorchjob-operator"]
