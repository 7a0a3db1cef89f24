"""The files that put the app into containers agree with each other and with the app."""

import re
import tomllib
from dataclasses import fields

from engine.settings import ROOT, Folders, Use

FILES = ("Dockerfile", "compose.yaml", "hosting/nginx.conf")
DOCKERFILE, COMPOSE, NGINX = ((ROOT / name).read_text() for name in FILES)


def test_the_proxy_knows_every_server() -> None:
    servers = re.findall(r"^  (\w+): \*app$", COMPOSE, re.MULTILINE)
    assert len(servers) == 2
    assert re.findall(r"^    server (\w+):8501 ", NGINX, re.MULTILINE) == servers
    assert all(f"\n      {server}:\n        condition: service_healthy" in COMPOSE for server in servers)


def test_the_proxy_lets_uploads_through() -> None:
    most = tomllib.loads((ROOT / ".streamlit" / "config.toml").read_text())["server"]["maxUploadSize"]
    assert int(re.findall(r"client_max_body_size (\d+)m", NGINX)[0]) > most


def test_folders_that_are_written_to_are_in_the_volume() -> None:
    named = re.findall(r"CONVSCOPE_(\w+)(?:=|: )(\S+)", DOCKERFILE + COMPOSE)
    folders = {name.lower(): path for name, path in named if path.startswith("/")}
    assert folders.keys() <= {field.name for field in fields(Folders)}
    assert set(folders) == {"runs", "cifar10", "features", "checkpoints"}
    made = re.findall(r"install -d -o convscope (.*)", DOCKERFILE)[0].split()
    assert set(folders.values()) <= set(made)


def test_the_use_of_the_copy_is_handed_on_to_every_server() -> None:
    handed_on = set(re.findall(r"^    CONVSCOPE_(\w+): ", COMPOSE, re.MULTILINE))
    assert {f"{field.name}".upper() for field in fields(Use)} - {"KIND"} | {"USE"} <= handed_on


def test_networks_can_be_kept_beside_the_shipped_ones() -> None:
    assert "chown convscope" in DOCKERFILE[DOCKERFILE.index("COPY . .") : DOCKERFILE.index("USER convscope")]


def test_the_lecturer_s_key_gets_neither_into_the_image_nor_into_git() -> None:
    assert "> .env\ndocker compose" in (ROOT / "docs" / "hosting.md").read_text()
    for name in (".dockerignore", ".gitignore"):
        assert ".env" in (ROOT / name).read_text().split("\n"), name


def test_the_image_brings_what_pages_need_and_runs_without_rights() -> None:
    ignored = (ROOT / ".dockerignore").read_text().split("\n")
    assert not {"checkpoints", "experiments", "recipes", "lectures", ".streamlit", "pages", "engine"} & set(ignored)
    assert "!data/bundled" in ignored
    assert DOCKERFILE.index("\nUSER convscope\n") < DOCKERFILE.index("\nCMD ")
    assert "--server.address=0.0.0.0" in DOCKERFILE
