# Web:    the default command.
# Worker: python manage.py run_worker
FROM python:3.11-slim AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python -m venv /opt/venv
COPY requirements.txt /tmp/
RUN /opt/venv/bin/pip install --require-hashes -r /tmp/requirements.txt

FROM python:3.11-slim
# production: an image started with nothing set refuses to serve, and says why.
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    SPRING_PROFILES_ACTIVE=production \
    ORGMANAGER_VAR_DIR=/var/lib/orgmanager
RUN useradd --system --uid 10001 --user-group --no-create-home orgmanager \
 && install --directory --owner orgmanager --mode 0700 /var/lib/orgmanager
COPY --from=build /opt/venv /opt/venv
WORKDIR /app
COPY . .
# Not in production: there is nothing to connect to. What it keeps goes to /tmp,
# so that no key becomes part of the image.
RUN mkdir staticfiles \
 && SPRING_PROFILES_ACTIVE=development ORGMANAGER_VAR_DIR=/tmp/var \
    python manage.py collectstatic --no-input --verbosity 0 \
 && rm -r /tmp/var \
 && python -m compileall -q .
USER 10001
EXPOSE 8080
CMD ["sh", "-c", "python manage.py check --deploy && exec gunicorn --config deploy/gunicorn.conf.py orgmanager.wsgi"]
