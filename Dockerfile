# depproxy in a container: docs/deployment.md tells how it is built and run.

ARG PYTHON=python:3.13-slim

FROM ${PYTHON} AS build
# pip's own settings. Without network: --build-arg PIP_NO_INDEX=1 --build-arg PIP_FIND_LINKS=wheels,
# with a folder of wheels here.
ARG PIP_NO_INDEX
ARG PIP_FIND_LINKS
WORKDIR /src
COPY . .
# pip stays behind in this stage; the wheels of pycurl have libcurl in them.
RUN python3 -m venv --without-pip /opt/depproxy \
 && python3 -m pip --python /opt/depproxy/bin/python install --no-cache-dir .

FROM ${PYTHON}
LABEL org.opencontainers.image.title="depproxy" \
      org.opencontainers.image.description="A pull-through cache for container images" \
      org.opencontainers.image.version="1.0.0" \
      org.opencontainers.image.licenses="MIT"
COPY --from=build /opt/depproxy /opt/depproxy
COPY conf/container.yml /etc/depproxy/depproxy.yml
# By number, so that Kubernetes can see that it is not root. A new volume takes over the owner.
RUN install -d -o 10001 -g 10001 -m 750 /var/lib/depproxy
ENV PATH=/opt/depproxy/bin:$PATH
USER 10001:10001
VOLUME /var/lib/depproxy
EXPOSE 8080
# SIGTERM lets running requests end, for `shutdown_timeout`; Docker kills after its own --stop-timeout.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=10s --start-period=30s CMD ["depproxy", "health"]
ENTRYPOINT ["depproxy"]
