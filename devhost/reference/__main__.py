"""`python -m devhost.reference`: write the generated parts of `docs/`."""

from devhost.reference.pages import pages

for path, text in pages().items():
    if path.read_text() != text:
        path.write_text(text)
        print(f"wrote {path.name}")
