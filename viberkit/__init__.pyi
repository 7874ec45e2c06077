from . import charts as charts
from . import errors as errors
from . import widgets as widgets
from .analysis.change_points import changes as changes
from .analysis.comparison import compare as compare
from .analysis.curves import delivery_curve as delivery_curve
from .analysis.curves import time_to as time_to
from .analysis.fallback import fallback as fallback
from .analysis.journeys import journeys as journeys
from .analysis.journeys import transitions as transitions
from .analysis.latency import latency as latency
from .analysis.quality import quality as quality
from .analysis.windows import over_time as over_time
from .analysis.windows import profile as profile
from .analysis.windows import slo as slo
from .api.client import Client as Client
from .archive.archive import Archive as Archive
from .callbacks.listener import Listener as Listener
from .campaigns.campaign import Campaign as Campaign
from .campaigns.collector import collect as collect
from .frames.reader import read_events as read_events
from .models.content import (
    Button as Button,
)
from .models.content import (
    Carousel as Carousel,
)
from .models.content import (
    CarouselItem as CarouselItem,
)
from .models.content import (
    File as File,
)
from .models.content import (
    Image as Image,
)
from .models.content import (
    List as List,
)
from .models.content import (
    Text as Text,
)
from .models.content import (
    Video as Video,
)
from .sandbox.sandbox import Sandbox as Sandbox

__version__: str
