"""Before the package is made: its host.json names the durable backend that the azd environment asks for."""

import os

import host_json

if __name__ == "__main__":
    host_json.for_package(os.environ)
