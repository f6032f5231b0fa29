# Container image of the registry: the packages pinned by uv.lock, verified by hash; no compiler, no root user.
#   docker build -t sohu-registry:0.1.0 .
#   docker run -p 5000:5000 -v registry:/var/lib/registry -e REGISTRY_STORAGE=filesystem sohu-registry:0.1.0
# Tags can change. A release pins the base by digest, which the label org.opencontainers.image.base.name then records:
#   --build-arg BASE_IMAGE=docker.io/library/python@sha256:… (docs/deployment.md, "The image")
ARG BASE_IMAGE=docker.io/library/python:3.11-slim
# Programs run in the stage `build` only, so an image for another processor needs no emulation: BUILD_BASE is the same
# base for this machine, and PYTHON_PLATFORM selects the packages (aarch64-unknown-linux-gnu). `make release` sets both.
ARG BUILD_BASE=${BASE_IMAGE}

FROM ${BUILD_BASE} AS build
# A mirror of PyPI: --build-arg PIP_INDEX_URL=https://…/simple. What it returns must have the hashes of uv.lock.
ARG PIP_INDEX_URL
# Bytecode that names the hash of its source, and not the time of its file, is the same in each build.
ENV UV_PYTHON_DOWNLOADS=never UV_PYTHON=python3 UV_NO_CACHE=1 UV_SYSTEM_CERTS=1 \
    UV_COMPILE_BYTECODE=1 PYC_INVALIDATION_MODE=CHECKED_HASH PYTHONDONTWRITEBYTECODE=1
WORKDIR /build
# The standard library in bytecode, which the official images leave out: without it, a start takes twice as long.
COPY scripts/compile_library.py scripts/compile_library.py
RUN python3 scripts/compile_library.py /library
# uv is installed for the build only; the final image has neither uv nor pip.
COPY scripts/uv.lock scripts/uv.lock
RUN python3 -m venv /opt/uv \
 && /opt/uv/bin/pip install --no-cache-dir --disable-pip-version-check --no-deps --only-binary :all: \
    --require-hashes --requirement scripts/uv.lock
# The extra `otel` sends traces; --build-arg EXTRAS= omits its packages.
ARG EXTRAS="--extra otel"
COPY pyproject.toml uv.lock README.md LICENSE ./
ARG PYTHON_PLATFORM
# `uv sync` would fetch from the addresses in uv.lock; a list of packages with hashes can come from a mirror.
RUN /opt/uv/bin/uv export --quiet --frozen --no-default-groups ${EXTRAS} --no-emit-project --output-file packages.txt \
 && /opt/uv/bin/uv venv /opt/venv \
 && /opt/uv/bin/uv pip install --python /opt/venv --require-hashes ${PIP_INDEX_URL:+--default-index "$PIP_INDEX_URL"} \
    ${PYTHON_PLATFORM:+--python-platform "$PYTHON_PLATFORM" --only-binary :all:} --requirement packages.txt
COPY core core
COPY adapters adapters
COPY config config
COPY entrypoints entrypoints
# uv_cache.json holds the time of the installation; without it, the same commit makes the same layer.
RUN /opt/uv/bin/uv pip install --python /opt/venv --offline --no-deps . \
 && python3 -c "import pathlib; [record] = pathlib.Path('/opt/venv').glob('lib/*/site-packages/sohu_registry-*/RECORD'); \
    record.with_name('uv_cache.json').unlink(); \
    record.write_text(''.join(line for line in record.open() if '/uv_cache.json,' not in line))" \
 && groupadd --gid 10001 registry \
 && useradd --uid 10001 --gid registry --no-create-home --home-dir /var/lib/registry --shell /usr/sbin/nologin registry \
 && mkdir /empty

FROM ${BASE_IMAGE}
ARG BASE_IMAGE
ARG VERSION=0.1.0
ARG REVISION=unknown
ARG CREATED=1970-01-01T00:00:00Z
LABEL org.opencontainers.image.title="sohu-registry" \
      org.opencontainers.image.description="A container image registry for Sohu Cloud Storage, S3 and folders" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}" \
      org.opencontainers.image.base.name="${BASE_IMAGE}" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.url="https://github.com/domeos/docker-registry-driver-sohustorage" \
      org.opencontainers.image.source="https://github.com/domeos/docker-registry-driver-sohustorage" \
      org.opencontainers.image.documentation="https://github.com/domeos/docker-registry-driver-sohustorage/tree/main/docs"
COPY --from=build /library /
COPY --from=build /opt/venv /opt/venv
COPY --from=build /etc/passwd /etc/group /etc/
# /var/lib/registry holds the images, /opt/registry the repository list of SEARCH_BACKEND=LOCAL.
COPY --from=build --chown=10001:10001 /empty /var/lib/registry
COPY --from=build --chown=10001:10001 /empty /opt/registry
COPY config/config-scs.yml /etc/docker/registry/config.yml
# The file for the server, and for commands in the running container: `docker exec … registry doctor`.
ENV REGISTRY_CONFIGURATION_PATH=/etc/docker/registry/config.yml
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 TZ=Asia/Shanghai
USER 10001:10001
VOLUME ["/var/lib/registry"]
EXPOSE 5000
# Liveness only, independent of the storage, which a restart cannot repair; /readyz also checks the storage.
# With another `http.addr` in a file of your own, set REGISTRY_HTTP_ADDR in its place.
HEALTHCHECK --interval=10s --timeout=9s --start-period=10s \
  CMD ["sh", "-c", "exec python3 -m entrypoints.healthcheck \"$REGISTRY_HTTP_ADDR\""]
ENTRYPOINT ["registry"]
CMD ["serve"]
