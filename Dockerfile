# One server of the app, with its networks and images inside. docs/hosting.md says how to build and run it.
FROM python:3.11-slim

ENV PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore

RUN useradd --create-home --uid 10001 convscope \
    && install -d -o convscope /data /data/runs /data/checkpoints /data/cifar10 /data/features

WORKDIR /app
COPY requirements.txt .
# The index of PyTorch's CPU wheels; without it, pip's usual PyTorch brings 5 GB of CUDA libraries.
ARG TORCH_INDEX=
RUN if [ -n "$TORCH_INDEX" ]; then grep '^torch' requirements.txt | xargs pip install --index-url "$TORCH_INDEX"; fi
RUN pip install -r requirements.txt
COPY . .
# Where no volume has them, what somebody keeps stands beside the shipped networks, and what is found out about those.
RUN find checkpoints -type d -exec chown convscope {} + && python -m compileall -q app.py engine pages

# Trainings, and the images for them, are kept in a volume. So are networks, where compose.yaml puts them.
ENV CONVSCOPE_RUNS=/data/runs CONVSCOPE_CIFAR10=/data/cifar10 CONVSCOPE_FEATURES=/data/features
VOLUME /data
USER convscope
EXPOSE 8501
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=6 \
    CMD python -c "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8501/_stcore/health', timeout=4)"
CMD ["streamlit", "run", "app.py", "--server.headless=true", "--server.address=0.0.0.0"]
