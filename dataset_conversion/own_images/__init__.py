"""The general converter, for images that no module knows: ``convert`` is its entrance, ``options`` what it takes."""
