# The operator's and the proxy's images, for people with Docker:
#   docker build --target operator -t cardea-operator .
#   docker build --target proxy -t cardea-proxy .
# `make images` builds the same without Docker.
FROM golang:1.26-bookworm AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN make build

# Nothing but the program and the public certificate authorities. Both run with a read-only root.
FROM scratch AS base
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
USER 65532:65532

FROM base AS operator
COPY --from=build /src/bin/cardea-operator /usr/local/bin/cardea-operator
ENTRYPOINT ["/usr/local/bin/cardea-operator"]

FROM base AS proxy
COPY --from=build /src/bin/cardea-proxy /usr/local/bin/cardea-proxy
ENTRYPOINT ["/usr/local/bin/cardea-proxy"]
