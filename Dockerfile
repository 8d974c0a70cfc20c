FROM python:3.12-slim

ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1

RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin millrace

WORKDIR /app
COPY requirements.txt .
RUN pip install --require-hashes -r requirements.txt && python -m compileall -q /usr/local/lib/python3.12/site-packages

COPY config.py Procfile ./
COPY models models
COPY jobs jobs
COPY workers workers
COPY api api
COPY migrations migrations
COPY deploy deploy

USER millrace
EXPOSE 8000
STOPSIGNAL SIGTERM
CMD ["gunicorn", "--config", "deploy/gunicorn.py", "api.app:create_app()"]
