# syntax=docker/dockerfile:1
# One image with every program; docker-compose.yml says which of them a container runs. Needs BuildKit.

FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
# Shown as payonce_build_info: docker build --build-arg PAYONCE_COMMIT=$(git rev-parse --short HEAD)
ARG PAYONCE_COMMIT
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/src/target \
    cargo build --release --locked --bin api --bin worker --bin simgateway --bin payonce \
    && mkdir /programs \
    && cp target/release/api target/release/worker target/release/simgateway target/release/payonce /programs/

FROM debian:bookworm-slim
# For gateways that are reached over TLS.
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/*
COPY --from=build /programs/ /usr/local/bin/
# Nobody's: the programs write nothing but to their database.
USER 65534:65534
STOPSIGNAL SIGTERM
CMD ["payonce", "--help"]
