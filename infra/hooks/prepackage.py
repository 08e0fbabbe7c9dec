"""Before packaging: put the durable backend of the azd environment into host.json."""

import os

import host_json

if __name__ == "__main__":
    host_json.for_package(os.environ)
