# Bowerbird with what all four roles need; see docker-compose.yml for how they run.
FROM python:3.13-slim-trixie AS build
WORKDIR /source
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY archive archive
COPY embedded embedded
COPY records records
COPY policies policies
COPY rewards rewards
COPY stream stream
COPY replay replay
COPY bowerbird bowerbird
RUN python -m venv /opt/bowerbird
RUN /opt/bowerbird/bin/python -m pip install --no-cache-dir --constraint constraints.txt ".[archive]"

FROM python:3.13-slim-trixie
RUN useradd --system --uid 10001 --home-dir /nonexistent --shell /usr/sbin/nologin bowerbird \
 && install --directory --owner bowerbird /var/lib/bowerbird/archive
COPY --from=build /opt/bowerbird /opt/bowerbird
ENV PATH=/opt/bowerbird/bin:$PATH
ENV PYTHONUNBUFFERED=1
ENV BOWERBIRD_METRICS_HOST=0.0.0.0
ENV BOWERBIRD_METRICS_PORT=9400
USER 10001
WORKDIR /var/lib/bowerbird
# The roles' ports follow metrics_port in their order; the port after them tells how all roles of a worker are.
EXPOSE 9400 9401 9402 9403 9404
HEALTHCHECK --interval=15s --timeout=5s --start-period=60s --retries=3 \
  CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:9404/health', timeout=4)"]
ENTRYPOINT ["bowerbird"]
CMD ["worker"]
