# The orchestrator: the whole project, and Dagster's storage in Postgres.
#   docker build -f deploy/dagster.Dockerfile -t recsys/dagster .
FROM python:3.11-slim
WORKDIR /srv
COPY requirements.lock ./
RUN pip install --no-cache-dir -r requirements.lock torch==2.13.0 dagster-postgres psycopg2-binary
COPY . .
RUN pip install --no-cache-dir --no-deps -e . && useradd --uid 10001 --create-home service \
 && mkdir -p /data /opt/dagster && cp deploy/dagster/dagster.yaml deploy/dagster/workspace.yaml /opt/dagster/ \
 && chown -R service /data /opt/dagster
ENV RECSYS_HOME=/data DAGSTER_HOME=/opt/dagster DAGSTER_DISABLE_TELEMETRY=yes DO_NOT_TRACK=1 \
    DBT_SEND_ANONYMOUS_USAGE_STATS=false
USER service
EXPOSE 3070
