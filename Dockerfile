# The registry as a container: only locked, hash-checked packages, no compiler, no root.
#   docker build -t sohu-registry .
#   docker run -p 5000:5000 -v registry:/var/lib/registry -e REGISTRY_STORAGE=filesystem sohu-registry
ARG BASE_IMAGE=docker.io/library/python:3.11-slim

FROM ${BASE_IMAGE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ONLY_BINARY=:all:
WORKDIR /build
# With what sends traces; --build-arg REQUIREMENTS=requirements.lock leaves that out.
ARG REQUIREMENTS=requirements-otel.lock
COPY ${REQUIREMENTS} requirements-build.lock ./
# Two environments: the tools that build the wheel stay out of the one that is shipped.
RUN python3 -m venv tools \
 && tools/bin/pip install --require-hashes -r requirements-build.lock \
 && python3 -m venv /opt/venv \
 && /opt/venv/bin/pip install --require-hashes -r ${REQUIREMENTS}
COPY pyproject.toml README.md source/
COPY core source/core
COPY adapters source/adapters
COPY config source/config
COPY entrypoints source/entrypoints
RUN tools/bin/pip wheel --no-deps --no-build-isolation --wheel-dir wheels ./source \
 && /opt/venv/bin/pip install --no-deps wheels/*.whl \
 && /opt/venv/bin/pip uninstall --yes pip setuptools

FROM ${BASE_IMAGE}
COPY --from=build /opt/venv /opt/venv
# /var/lib/registry holds the images, /opt/registry the repository list of SEARCH_BACKEND=LOCAL.
RUN groupadd --gid 10001 registry \
 && useradd --uid 10001 --gid registry --no-create-home --home-dir /var/lib/registry --shell /usr/sbin/nologin registry \
 && install --directory --owner=registry --group=registry /var/lib/registry /opt/registry
COPY config/config-scs.yml /etc/docker/registry/config.yml
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 TZ=Asia/Shanghai
USER 10001:10001
VOLUME ["/var/lib/registry"]
EXPOSE 5000
# Alive, whatever the storage does: a restart mends nothing outside of the process (/readyz tells that).
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s \
  CMD ["python3", "-c", "import http.client as h; c = h.HTTPConnection('127.0.0.1', 5000, timeout=4); c.request('GET', '/healthz'); raise SystemExit(c.getresponse().status >= 500)"]
ENTRYPOINT ["registry"]
CMD ["serve", "/etc/docker/registry/config.yml"]
