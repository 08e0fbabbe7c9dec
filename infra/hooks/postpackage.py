"""After packaging: restore host.json."""

import host_json

if __name__ == "__main__":
    host_json.restore()
