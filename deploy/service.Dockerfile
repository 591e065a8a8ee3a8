# The service: Python, the locked packages it needs, the core and the front ends. No orchestrator in it.
#   docker build -f deploy/service.Dockerfile -t recsys/service .
# `bentoml containerize recommender:<version>` makes the same out of the Bento that the asset `bento` built.
FROM python:3.11-slim
WORKDIR /srv
COPY requirements.lock ./
COPY bentos/ bentos/
COPY recsys/ recsys/
# the packages of the Bento, at the versions of the lock, which leaves out torch (as make setup installs it)
RUN grep -A1000 'packages:' bentos/recommender/bentofile.yaml | sed -n 's/^ *- //p' > wanted.txt \
 && pip install --no-cache-dir -c requirements.lock -r wanted.txt torch==2.13.0 \
 && python -m compileall -q recsys bentos \
 && useradd --uid 10001 --create-home service && mkdir /data && chown service /data
ENV RECSYS_HOME=/data RECSYS_HOST=0.0.0.0 BENTOML_DO_NOT_TRACK=true DO_NOT_TRACK=1 NUMBA_CACHE_DIR=/tmp/numba
USER service
EXPOSE 3000 3001
CMD ["python", "-m", "bentos.recommender.serve"]
