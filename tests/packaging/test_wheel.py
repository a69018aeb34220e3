"""The wheel: what is in it, and that it is all that anybody needs."""

import json
import shutil
import subprocess
import sys
import urllib.request
import zipfile
from pathlib import Path

import depproxy
from depproxy.demo.registry import DEMO_TAG
from tests.packaging.conftest import Installed, as_stranger, said_by
from tests.real.programs import ROOT, free_port, running, wait_until


def test_everything_of_the_package_is_in_the_wheel(wheel: Path) -> None:
    package = ROOT / "depproxy"
    files = {*package.rglob("*"), *(package / "conf").iterdir()}
    ours = {
        file.relative_to(ROOT).as_posix(): file.read_bytes()
        for file in files
        if file.is_file() and "__pycache__" not in file.parts
    }
    with zipfile.ZipFile(wheel) as archive:
        packed = {name: archive.read(name) for name in archive.namelist()}
    assert {name: body for name, body in packed.items() if ".dist-info/" not in name} == ours
    assert any(name.endswith("/licenses/LICENSE") for name in packed)
    for name in ("templates/group.html", "static/pages.css", "conf/depproxy.yml"):
        assert f"depproxy/{name}" in ours


def test_nothing_but_the_wheels_is_needed(installed: Installed) -> None:
    assert installed.run("--version") == f"depproxy {depproxy.__version__}\n"
    python = installed.environment / "bin" / "python"
    where = said_by(python, "-c", "print(__import__('depproxy').__file__)", cwd=installed.folder)
    assert where.startswith(str(installed.environment))


def test_each_shipped_file_is_printed_byte_for_byte(installed: Installed) -> None:
    names = sorted(file.name for file in (ROOT / "conf").iterdir())
    assert "grafana-dashboard.json" in names
    for name in names:
        assert installed.run("--example", name) == (ROOT / "conf" / name).read_text()


def test_the_example_is_a_configuration_to_begin_with(installed: Installed, tmp_path: Path) -> None:
    folder = tmp_path / "conf"
    folder.mkdir()
    (folder / "depproxy.yml").write_text(installed.run("--example", "depproxy.yml"))
    said = said_by(installed.program, "--check-config", cwd=tmp_path)
    assert said == "conf/depproxy.yml: right\n"


def test_without_a_configuration_it_says_how_to_get_one(installed: Installed) -> None:
    done = subprocess.run(
        [installed.program], capture_output=True, text=True, cwd=installed.folder, env=as_stranger()
    )
    assert done.returncode == 2
    assert "depproxy --example depproxy.yml" in done.stderr


def test_the_demo_needs_no_configuration(installed: Installed) -> None:
    assert installed.run("--demo", "--check-config").endswith("conf/depproxy.yml: right\n")


def test_a_server_needs_none_of_the_shipped_files(tmp_path: Path) -> None:
    """In a copy of the tree without ``conf/`` the link leads nowhere."""
    clone = tmp_path / "clone"
    left_behind = shutil.ignore_patterns("conf", "__pycache__")
    shutil.copytree(ROOT / "depproxy", clone / "depproxy", ignore=left_behind)
    (clone / "depproxy" / "conf").symlink_to("../conf")
    shutil.copy(ROOT / "conf" / "depproxy.yml", tmp_path)
    command = (sys.executable, "-m", "depproxy", "--check-config", "--config", "../depproxy.yml")
    assert said_by(*command, cwd=clone) == "../depproxy.yml: right\n"


def test_an_installed_server_has_pages_and_serves_pulls(
    installed: Installed, tmp_path: Path
) -> None:
    port = free_port()
    config, log = tmp_path / "depproxy.yml", tmp_path / "log"
    example = installed.run("--example", "depproxy.yml")
    config.write_text(example.replace("8080", str(port)))
    url = f"http://127.0.0.1:{port}"

    def get(path: str) -> bytes:
        with urllib.request.urlopen(url + path) as answer:
            return bytes(answer.read())

    command = [str(installed.program), "--demo", "--config", str(config)]
    with running(command, log, cwd=installed.folder, env=as_stranger()) as server:
        wait_until(lambda: "Ctrl-C ends it" in log.read_text(), server, log)
        page = get("/groups/mygroup/-/dependency_proxy").decode()
        assert "mygroup/dependency_proxy/containers" in page
        styles = page.partition('rel="stylesheet" href="')[2].partition('"')[0]
        assert b"{" in get(styles)
        tag = f"/v2/mygroup/dependency_proxy/containers/hello/manifests/{DEMO_TAG}"
        assert json.loads(get(tag))["schemaVersion"] == 2
    assert server.returncode == 0
    assert list(installed.folder.iterdir()) == []


def test_pipx_makes_a_command_of_it(wheel: Path, tmp_path: Path) -> None:
    pipx = [sys.executable, "-m", "pipx", "install", "--quiet", str(wheel)]
    folders = {"PIPX_HOME": str(tmp_path / "pipx"), "PIPX_BIN_DIR": str(tmp_path / "bin")}
    subprocess.run(pipx, check=True, cwd=tmp_path, env=as_stranger() | folders)
    said = said_by(tmp_path / "bin" / "depproxy", "--version", cwd=tmp_path)
    assert said == f"depproxy {depproxy.__version__}\n"
