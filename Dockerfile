# docker build -t dice-talk .                         the service and the lite engine, on any CPU
# docker build -t dice-talk:gpu --target gpu .        with the diffusion engine's packages, for NVIDIA GPUs
# docker build -t dice-talk:cluster --build-arg EXTRAS="objects postgres ray" .      for several machines: docs/scale.md
# How to run them: compose.yaml and docs/deploy.md
FROM python:3.13-slim-trixie AS service
RUN python -m venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH
WORKDIR /app
COPY requirements_api.txt .
RUN pip install --no-cache-dir --only-binary=:all: -r requirements_api.txt
ARG EXTRAS=""

COPY . .
RUN for extra in $EXTRAS; do pip install --no-cache-dir --only-binary=:all: -r "requirements_$extra.txt" || exit 1; done
# pip compiles installed packages, but not an editable project, and the service may not write here.
RUN pip install --no-cache-dir --no-deps -e . && python -m compileall -q api dice_talk
RUN useradd --uid 10001 dice-talk && install -d -o dice-talk data logs checkpoints
USER dice-talk
# All interfaces of the container; which of the host's ports lead there is configured when it is run.
ENV DICE_TALK_HOST=0.0.0.0
VOLUME ["/app/data", "/app/logs", "/app/checkpoints"]
EXPOSE 8000
HEALTHCHECK --interval=60s --timeout=15s --start-period=60s CMD ["python", "-m", "api.health"]
CMD ["python", "-m", "api.server"]

FROM service AS gpu
USER root
# PyPI's torch for Linux includes CUDA. The driver comes from the host.
RUN pip install --no-cache-dir --only-binary=:all: -r requirements_diffusion.txt
ENV NVIDIA_DRIVER_CAPABILITIES=compute,utility
USER dice-talk

# Built by default, without --target.
FROM service
