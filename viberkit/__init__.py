"""viberkit: send Viber Business messages from a notebook, store what the API reports, and measure delivery times.

Import it as ``import viberkit as vk``. The public names are listed in ``__init__.pyi`` and are loaded when they are
first used, so that importing viberkit takes no time. Nothing deeper in the package is a stable interface.
"""

import lazy_loader

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
