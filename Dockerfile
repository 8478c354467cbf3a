# One image for web, worker, beat and the one-shot services of docker-compose.yml.
FROM python:3.12-slim AS build
RUN python -m venv /opt/venv
COPY requirements.lock /tmp/
RUN /opt/venv/bin/pip install --quiet --disable-pip-version-check --require-hashes -r /tmp/requirements.lock

FROM python:3.12-slim
RUN useradd --uid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin hub \
    && install -d -o hub -g hub /srv/hub /srv/hub/static /secrets
COPY --from=build /opt/venv /opt/venv
COPY . /app
WORKDIR /app
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HUB_DATA_DIR=/srv/hub
RUN python -m compileall -q hub web consumers chat tasks notifications accounts events
USER hub
EXPOSE 8000
CMD ["python", "-m", "hub.server", "--host", "0.0.0.0", "--port", "8000"]
