"""What ``--demo`` changes in a configuration, and what it tells the newcomer."""

from dataclasses import replace
from pathlib import Path

from depproxy.config import (
    Address,
    AuthConfig,
    Config,
    GroupConfig,
    MirrorConfig,
    TlsConfig,
    UpstreamConfig,
)
from depproxy.demo.registry import DEMO_IMAGE, DEMO_TAG
from depproxy.oci.names import GroupName

DEMO_GROUP = GroupName("mygroup")

_ADDRESS = Address(host="127.0.0.1", port=8080)
"""Where the configuration has unix sockets only: docker cannot pull by those."""


def demo_config(config: Config, registry_url: str, data_dir: Path) -> Config:
    """The same addresses, without TLS, one group, and the demo's registry in Docker Hub's place."""
    upstream = UpstreamConfig(name="docker.io", url=registry_url)
    return replace(
        config,
        listen=tuple(address for address in config.listen if not address.unix) or (_ADDRESS,),
        tls=TlsConfig(),
        data_dir=data_dir,
        upstreams={upstream.name: upstream},
        groups={DEMO_GROUP: GroupConfig(DEMO_GROUP, allow=(DEMO_IMAGE,))},
        mirror=MirrorConfig(),
        auth=AuthConfig(),
    )


def demo_lines(address: str, data_dir: Path) -> str:
    """Commands that can be copied as they are."""
    image = f"{DEMO_GROUP}/dependency_proxy/containers/{DEMO_IMAGE.removeprefix('library/')}"
    token = f"PRIVATE-TOKEN: $(cat {data_dir}/admin_token)"
    purge = f"http://{address}/api/v4/groups/{DEMO_GROUP}/dependency_proxy/cache"
    return (
        "A registry with one image stands in for Docker Hub. Try, in another terminal:\n"
        f"  docker pull {address}/{image}:{DEMO_TAG}\n"
        f"  docker run --rm {address}/{image}:{DEMO_TAG}\n"
        f"  curl -I http://{address}/v2/{image}/manifests/{DEMO_TAG}\n"
        f'  curl --request DELETE --header "{token}" {purge}\n'
        "Ctrl-C ends it; nothing is kept."
    )
