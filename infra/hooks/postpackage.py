"""After the package is made: host.json is again what it was."""

import host_json

if __name__ == "__main__":
    host_json.restore()
