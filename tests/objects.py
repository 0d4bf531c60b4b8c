"""An S3 server on the loopback interface, whose answers can be made to fail."""

import urllib.request

from moto.server import DomainDispatcherApplication, create_backend_app
from serving import Serving

BUCKET = "bucket"


class Server(Serving):
    """A server of moto behind faults."""

    def __init__(self) -> None:
        super().__init__(DomainDispatcherApplication(create_backend_app))
        urllib.request.urlopen(urllib.request.Request(f"{self.endpoint}/{BUCKET}", method="PUT"))

    @property
    def options(self) -> dict[str, str]:
        """Options of the store."""
        return {"endpoint": self.endpoint, "region": "us-east-1", "access_key_id": "a", "secret_access_key": "b"}
